import Glibc
import Testing

/// The weights of whole runs, as literals: the same for every kernel that the CPU has, any number of threads and of
/// workers, and on any other machine. What changes one of these changes the arithmetic, which then gets its next number (`Arithmetic.version`).
@Suite(.serialized) struct GoldenDigestTests {
    /// What a run is made with, and the digest of what comes out.
    struct Golden: Sendable, CustomTestStringConvertible {
        var name: String
        var program = "lockstep"
        var arguments: [String]
        var digest: String
        /// Too long for the suite where every multiplication is a call of the C library.
        var isLong = false

        var testDescription: String { name }
    }

    static let all = [
        Golden(
            name: "digits, as the quickstart trains it", arguments: ["train", "digits"],
            digest: "8194d07bb5edb9ea56e7b5e07aeea2a3dd73f022cef5cc57ea9dcf22f505af60", isLong: true),
        Golden(
            name: "MNIST, MLP", arguments: ["train", "mnist", "--data", "IMAGES", "--hidden", "64,32", "--dropout", "0.1", "--steps", "6"],
            digest: "0572a2d37853405a9dc0e062a5e663a66f525f522acf31b98fae4a6de81207ac"),
        Golden(
            name: "MNIST, CNN",
            arguments: [
                "train", "mnist", "--data", "IMAGES", "--model", "cnn", "--global-batch-size", "12", "--micro-batch-size", "4",
                "--steps", "3",
            ], digest: "c6d8acffe4d49aec9bbfc4ac5078bdd8b59ad369b34b831101653ef357d9919f"),
        Golden(
            name: "ResNet",
            arguments: [
                "train", "digits", "--model", "resnet", "--global-batch-size", "24", "--micro-batch-size", "8", "--steps", "4",
            ], digest: "d48fa38f3173d6b7cd7b0b710e295acfef3ac1886aa4c4b89cd705aff1573dd2"),
        Golden(
            name: "GPT with dropout",
            arguments: [
                "train", "text", "--data", "TEXT", "--layers", "2", "--heads", "2", "--embedding", "48", "--context", "70", "--dropout",
                "0.2", "--global-batch-size", "6", "--micro-batch-size", "2", "--steps", "5",
            ], digest: "fc01c2b63c645d286b50838ed241f108f86e07e7d1624297cede6d441c44bdd0"),
        Golden(
            name: "GPT in bf16",
            arguments: [
                "train", "text", "--data", "TEXT", "--layers", "1", "--heads", "3", "--embedding", "33", "--context", "20", "--precision",
                "bf16", "--global-batch-size", "6", "--micro-batch-size", "2", "--steps", "5",
            ], digest: "3ccdf90ddeeb88eb8451e3f535bf9325af577ae848425675ff6ada0683551947"),
        Golden(
            name: "a loss over the global batch", program: "Contrast", arguments: [],
            digest: "d0d799f34d528eaea86196b6d6f6482423de2f37b2f288e3a6c7294ba6ffb2e4", isLong: true),
    ]

    /// IDX files of small whole numbers, and a text: what anybody can make again.
    private static func data(in directory: TemporaryDirectory) throws {
        func word(_ value: Int) -> [UInt8] { (0..<4).map { UInt8(truncatingIfNeeded: value >> (24 - 8 * $0)) } }
        for (part, count) in [("train", 60), ("t10k", 12)] {
            let pixels = (0..<count * 784).map { UInt8(truncatingIfNeeded: ($0 &* $0 &+ $0 / 784 &* 37) >> 3) }
            try write(word(0x803) + word(count) + word(28) + word(28) + pixels, to: directory("\(part)-images-idx3-ubyte"))
            try write(word(0x801) + word(count) + (0..<count).map { UInt8($0 % 10) }, to: directory("\(part)-labels-idx1-ubyte"))
        }
        let words = ["ring", "of", "workers", "sums", "exactly,", "and", "so", "do", "its\n"]
        let text = (0..<900).map { words[($0 &* $0 &+ $0 / 7) % words.count] }.joined(separator: " ")
        try write(text.utf8, to: directory("text"))
    }

    @Test(arguments: all) func everyKernelGivesTheDigest(_ golden: Golden) throws {
        let directory = try TemporaryDirectory()
        try Self.data(in: directory)
        let arguments = golden.arguments.map { $0 == "IMAGES" ? directory.path : $0 == "TEXT" ? directory("text") : $0 }
        for kernels in Self.kernels {
            // scripts/verify sets this, and has the time.
            if golden.isLong, kernels == "baseline", getenv("TEST_LONG") == nil { continue }
            for (threads, workers) in [(1, 1), (2, 3), (1, 3), (2, 1)] {
                let run = try Self.run(golden, arguments, kernels, threads: threads, workers: workers)
                // `run` marks lines with their rank.
                #expect(
                    run.status == 0 && run.lines.last?.hasSuffix("weights sha256 \(golden.digest)") == true,
                    "\(kernels), \(threads) threads, \(workers) workers: \(run.output)\(run.errors)")
            }
        }
    }

    /// The instruction sets of this CPU, by the names that LOCKSTEP_CPU takes.
    private static let kernels = ["baseline", "avx2", "avx512"].filter { name in
        (try? lockstep("train", "digits", "--steps", "1", environment: ["LOCKSTEP_CPU": name]).status) == 0
    }

    private static func run(_ golden: Golden, _ arguments: [String], _ kernels: String, threads: Int, workers: Int) throws -> Ended {
        let environment = ["LOCKSTEP_CPU": kernels]
        if golden.program != "lockstep" {
            let command = ["run", "-n", "\(workers)", "--", try built(golden.program)] + arguments
            return try startLockstep(command, environment: environment).ended(within: .seconds(300))
        }
        return try startLockstep(
            arguments + ["-n", "\(workers)", "--threads-per-worker", "\(threads)"], environment: environment
        ).ended(within: .seconds(300))
    }
}
