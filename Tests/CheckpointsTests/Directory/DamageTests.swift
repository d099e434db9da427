import Checkpoints
import Glibc
import Testing

struct DamageTests {
    private let directory = TemporaryDirectory()
    private let first = RunState(step: 1000, seed: 1)
    private let second = RunState(step: 2000, seed: 2)
    private let names = ["weights.safetensors", "optimizer.safetensors", "manifest.json"]

    private func saveBoth() throws -> CheckpointDirectory {
        let run = CheckpointDirectory(directory.path)
        for state in [first, second] { _ = try state.with { try run.save($0) } }
        return run
    }

    /// A thousand flipped bits and some cuts: the older checkpoint is taken every time, and the newer is said to be damaged.
    @Test func noDamagedCheckpointIsAccepted() throws {
        let run = try saveBoth()
        var random = SeededGenerator(seed: 5)
        for round in 0..<1200 {
            let name = "checkpoints/step-00002000/\(names.randomElement(using: &random)!)"
            let whole = directory.read(name)
            var bytes = whole
            if round >= 1000 {
                bytes.removeLast(Int.random(in: 1...bytes.count, using: &random))
            } else {
                bytes[Int.random(in: 0..<bytes.count, using: &random)] ^= 1 << UInt8.random(in: 0..<8, using: &random)
            }
            directory.write(name, bytes)
            let (checkpoint, damaged) = try run.latest()
            #expect(try first.matches(#require(checkpoint)), "round \(round) in \(name)")
            #expect(damaged.map(\.path) == ["\(run.path)/step-00002000"], "round \(round) in \(name)")
            #expect(damaged.allSatisfy { !$0.error.description.contains("\n") })
            directory.write(name, whole)
        }
        #expect(try second.matches(#require(try run.latest().checkpoint)))
    }

    @Test func everyKindOfDamageSaysWhatItIs() throws {
        let run = try saveBoth()
        let path = "\(run.path)/step-00002000"
        func damage(_ name: String, _ change: (inout [UInt8]) -> Void) throws -> CheckpointError? {
            let whole = directory.read("checkpoints/step-00002000/\(name)")
            var bytes = whole
            change(&bytes)
            directory.write("checkpoints/step-00002000/\(name)", bytes)
            defer { directory.write("checkpoints/step-00002000/\(name)", whole) }
            return try run.latest().damaged.first?.error
        }
        let size = directory.read("checkpoints/step-00002000/weights.safetensors").count
        #expect(
            try damage("weights.safetensors") { $0.removeLast() }
                == .wrongSize(path: "\(path)/weights.safetensors", expected: size, found: size - 1))
        guard case .wrongDigest("\(path)/weights.safetensors", _, _) = try damage("weights.safetensors", { $0[size - 1] ^= 1 })
        else { Issue.record("no digest error"); return }
        guard case .invalidManifest("\(path)/manifest.json", let reason) = try damage("manifest.json", { bytes in
            bytes = Array(String(decoding: bytes, as: UTF8.self).replacing("0.1", with: "0.2").utf8)
        }) else { Issue.record("no manifest error"); return }
        #expect(reason.contains("altered"))
        let version = try damage("manifest.json") { bytes in
            bytes = Array(String(decoding: bytes, as: UTF8.self).replacing("\"format_version\": 1", with: "\"format_version\": 2").utf8)
        }
        #expect(version == .unsupportedVersion(path: "\(path)/manifest.json", found: 2, supported: 1))
        unlink("\(path)/optimizer.safetensors")
        #expect(
            try run.latest().damaged.first?.error
                == .system(operation: "open", path: "\(path)/optimizer.safetensors", errno: ENOENT))
    }

    @Test func aCheckpointUnderAnotherStepsName() throws {
        let run = try saveBoth()
        rename("\(run.path)/step-00002000", "\(run.path)/step-00005000")
        let (checkpoint, damaged) = try run.latest()
        #expect(damaged.map(\.error) == [.wrongStep(path: "\(run.path)/step-00005000", found: 2000)])
        #expect(try first.matches(#require(checkpoint)))
    }

    @Test func findTakesARunOrACheckpoint() throws {
        #expect(throws: CheckpointError.noCheckpoint(path: directory.path)) { try Checkpoint.find(directory.path) }
        let run = try saveBoth()
        #expect(try second.matches(Checkpoint.find(directory.path).checkpoint))
        #expect(try first.matches(Checkpoint.find("\(run.path)/step-00001000").checkpoint))
        for step in ["step-00001000", "step-00002000"] { directory.write("checkpoints/\(step)/manifest.json", []) }
        guard case .onlyDamaged(run.path, 2, _) = #expect(throws: CheckpointError.self, performing: {
            try Checkpoint.find(directory.path)
        }) else { Issue.record("not all damaged"); return }
        #expect(throws: CheckpointError.self) { try Checkpoint.find("\(run.path)/step-00001000") }
        #expect(throws: CheckpointError.noCheckpoint(path: "/nonexistent")) {
            try Checkpoint.find("/nonexistent")
        }
    }
}
