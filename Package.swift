// swift-tools-version: 6.2
import PackageDescription

/// Modules stand in the order in which they may depend on one another: a target names only targets above it.
let package = Package(
    name: "lockstep",
    products: [
        .library(name: "Lockstep", targets: ["Lockstep"]),
        .executable(name: "lockstep", targets: ["LockstepCommand"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.0"),
        // Tests only: the reference that the exact sum is compared with.
        .package(url: "https://github.com/attaswift/BigInt", from: "6.0.0"),
    ],
    targets: [
        // The system's libraries.
        .systemLibrary(name: "CLibuv", pkgConfig: "libuv", providers: [.apt(["libuv1-dev"]), .brew(["libuv"])]),
        .systemLibrary(name: "COpenSSL", pkgConfig: "libcrypto", providers: [.apt(["libssl-dev"]), .brew(["openssl"])]),
        .systemLibrary(name: "CZlib", pkgConfig: "zlib", providers: [.apt(["zlib1g-dev"])]),

        // Signals, descriptors and memory, as the process finds them.
        .target(name: "CProcess"),
        .target(name: "Processes", dependencies: ["CProcess"]),

        // Loops that must vectorise for the CPU at hand: C, with one clone an instruction set, all of which give the
        // same bits.
        .target(name: "CInstructionSets"),
        .target(name: "CReductionKernels", dependencies: ["CInstructionSets"]),
        // What `lockstep bench` compares the ring with.
        .target(name: "CRawRing"),
        .target(name: "CTensorKernels", dependencies: ["CInstructionSets"]),

        // Bytes that are no UTF-8, in a String: paths and arguments are what they are.
        .target(name: "RawText"),

        .target(name: "EventLoop", dependencies: ["CLibuv", "CProcess", "Processes", "RawText"]),
        .target(name: "Wire", dependencies: ["COpenSSL"]),
        .target(name: "Tensors", dependencies: ["CInstructionSets", "CTensorKernels", "Processes"]),
        .target(name: "Membership", dependencies: ["EventLoop", "Wire"]),
        .target(
            name: "Collectives",
            dependencies: ["CProcess", "CReductionKernels", "EventLoop", "Membership", "Processes", "Wire"]),
        // `lockstep check` and `lockstep bench`.
        .target(name: "RingDiagnostics", dependencies: ["CRawRing", "Collectives", "Membership", "Wire"]),
        .target(name: "NeuralNetworks", dependencies: ["Tensors"]),
        .target(name: "Optimizers", dependencies: ["CTensorKernels", "Tensors"]),
        .target(
            name: "Datasets", dependencies: ["CZlib", "RawText"], exclude: ["Resources/LICENCE"],
            resources: [.embedInCode("Resources/digits.csv.gz")]),
        .target(name: "Checkpoints", dependencies: ["COpenSSL", "CProcess", "Processes", "RawText"]),
        .target(name: "HuggingFace", dependencies: ["Checkpoints", "NeuralNetworks", "Tensors"]),
        .target(name: "Telemetry", dependencies: ["RawText"]),
        .target(
            name: "Training",
            dependencies: [
                "CTensorKernels", "Checkpoints", "Collectives", "Datasets", "Membership", "NeuralNetworks", "Optimizers",
                "Processes", "RawText", "Telemetry", "Tensors",
            ]),
        .target(name: "CGuardian"),
        .target(
            name: "Launching",
            dependencies: ["CGuardian", "Checkpoints", "EventLoop", "Membership", "Processes", "RawText", "Wire"]),

        // What users import: everything above that is theirs.
        .target(
            name: "Lockstep",
            dependencies: [
                "CProcess", "Checkpoints", "Collectives", "Datasets", "HuggingFace", "NeuralNetworks", "Optimizers",
                "Processes", "RawText", "Telemetry", "Tensors", "Training",
            ]),
        .executableTarget(
            name: "LockstepCommand",
            dependencies: [
                "CProcess", "EventLoop", "Launching", "Lockstep", "Membership", "Processes", "RawText", "RingDiagnostics", "Wire",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ]),

        // The README's custom trainer.
        .executableTarget(name: "Spirals", dependencies: ["Lockstep"], path: "Sources/Examples/Spirals"),
        // An example of a loss over the global batch.
        .executableTarget(name: "Contrast", dependencies: ["Lockstep"], path: "Sources/Examples/Contrast"),

        // What tests share, and what they run as processes of their own.
        .target(
            name: "TestSupport", dependencies: ["Collectives", "EventLoop", "Membership", "Wire"], path: "Tests/TestSupport"),
        .target(name: "CAllocationCounter", path: "Tests/CAllocationCounter"),
        .executableTarget(
            name: "Probe",
            dependencies: [
                "CAllocationCounter", "CProcess", "Collectives", "Datasets", "EventLoop", "Launching", "Lockstep", "Membership",
                "TestSupport", "Wire",
            ],
            path: "Tests/Probe"),

        // Every kernel with every instruction set, beside a short reference; alone it compiles for other CPUs, too.
        .executableTarget(
            name: "KernelCheck", dependencies: ["CInstructionSets", "CReductionKernels", "CTensorKernels"], path: "Tests/KernelCheck",
            linkerSettings: [.linkedLibrary("m")]),

        .testTarget(name: "EventLoopTests", dependencies: ["EventLoop", "Probe", "TestSupport"]),
        .testTarget(name: "RawTextTests", dependencies: ["RawText"]),
        .testTarget(name: "ProcessesTests", dependencies: ["CProcess", "Processes"]),
        .testTarget(name: "WireTests", dependencies: ["TestSupport", "Wire"]),
        .testTarget(name: "TensorsTests", dependencies: ["CInstructionSets", "CTensorKernels", "TestSupport", "Tensors"]),
        .testTarget(name: "MembershipTests", dependencies: ["Membership", "TestSupport", "Wire"]),
        .testTarget(
            name: "CollectivesTests",
            dependencies: ["Collectives", "Probe", "TestSupport", .product(name: "BigInt", package: "BigInt")]),
        .testTarget(name: "RingDiagnosticsTests", dependencies: ["CRawRing", "Probe", "RingDiagnostics", "TestSupport"]),
        .testTarget(name: "SimulationTests", dependencies: ["Collectives", "Membership", "TestSupport", "Wire"]),
        .testTarget(name: "NeuralNetworksTests", dependencies: ["NeuralNetworks", "Optimizers"]),
        .testTarget(name: "OptimizersTests", dependencies: ["Optimizers"]),
        .testTarget(name: "DatasetsTests", dependencies: ["CZlib", "Datasets", "Probe", "TestSupport"]),
        .testTarget(
            name: "CheckpointsTests", dependencies: ["Checkpoints"],
            resources: [.embedInCode("Resources/golden.safetensors")]),
        .testTarget(
            name: "HuggingFaceTests", dependencies: ["HuggingFace"],
            resources: [
                "tied.config.json", "tied.safetensors", "untied.config.json", "untied.safetensors", "sharded.config.json",
                "sharded.index.json", "sharded1.safetensors", "sharded2.safetensors",
            ].map { .embedInCode("Resources/\($0)") }),
        .testTarget(name: "TelemetryTests", dependencies: ["Telemetry"]),
        .testTarget(name: "TrainingTests", dependencies: ["CTensorKernels", "TestSupport", "Training"]),
        .testTarget(name: "LaunchingTests", dependencies: ["Launching", "Membership", "Probe", "TestSupport", "Wire"]),
        // Named so that they are built: the tests run the programs themselves.
        .testTarget(
            name: "CommandTests",
            dependencies: [
                "Checkpoints", "Contrast", "KernelCheck", "Launching", "LockstepCommand", "Probe", "Spirals", "TestSupport",
            ]),
    ],
    swiftLanguageModes: [.v6]
)
