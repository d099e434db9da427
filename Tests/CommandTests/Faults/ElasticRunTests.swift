import Glibc
import Testing

/// Workers that are killed with SIGKILL while a run goes on: its digest, figures and files are those of a run in which nobody dies.
@Suite(.serialized) struct ElasticRunTests {
    static let task = [
        "train", "digits", "--hidden", "32", "--global-batch-size", "40", "--steps", "1500", "--eval-every", "50", "--check-every", "20",
    ]

    private static func undisturbed() throws -> Ended {
        let ended = try startLockstep(task).ended()
        try #require(ended.status == 0 && ended.digest != nil)
        return ended
    }

    private static let whole = Result { try undisturbed() }

    /// The processes of the workers by rank.
    private func workers(_ launcher: Started) -> [Int: Int32] {
        let pairs = launcher.children.compactMap { pid in variable("RANK", of: pid).flatMap { Int($0) }.map { ($0, pid) } }
        return Dictionary(pairs, uniquingKeysWith: { $1 })
    }

    /// Kills ranks one after the other, each at some moment, and expects what an undisturbed run gives.
    private func expectTheSame(killing ranks: [Int], of count: Int, flags: [String], pause: ClosedRange<UInt32>, seed: UInt64) throws {
        var random = SeededNumbers(seed: seed)
        let whole = try ElasticRunTests.whole.get()
        let directory = try TemporaryDirectory()
        let files = ["--out", directory("run"), "--metrics", directory("metrics"), "--checkpoint-every", "10", "--keep-checkpoints", "2"]
        let run = try startLockstep(ElasticRunTests.task + files + flags + ["-n", "\(count)"])
        try #require(wait { run.output.contains("step 1/") }, "\(run.errors)")
        let pids = workers(run)
        for rank in ranks {
            usleep(.random(in: pause, using: &random))
            if let pid = pids[rank] { run.killChild(pid) }
        }
        let ended = try run.ended()
        #expect(ended.status == 0 && ended.digest == whole.digest, "\(ended)")
        #expect(ended.lines.dropLast().last == whole.lines.dropLast().last, "the validation figures")
        let records = try contents(of: directory("metrics")).split(separator: "\n").map { try Record(String($0)) }
        #expect(records.map { $0["step"] } == (1...1500).map(Double.init), "no step is missing, none is there twice")
        #expect(records.filter { $0["validation_loss"] != nil }.count == 30)
        let inspected = try lockstep("inspect", directory("run"))
        #expect(inspected.digest == whole.digest && inspected.errors.isEmpty)
        #expect(!entries(below: directory("run/checkpoints")).contains { $0.hasPrefix(".") }, "no remains")
    }

    @Test(arguments: [[0], [1], [2], [0, 1], [2, 0], [1, 2, 0]]) func theOthersGoOn(ranks: [Int]) throws {
        try expectTheSame(
            killing: ranks, of: 4, flags: ["--max-restarts", "0"], pause: 1000...150_000, seed: UInt64(ranks.reduce(1) { $0 * 4 + $1 }))
    }

    @Test(arguments: 0..<3) func withRestarts(seed: UInt64) throws {
        try expectTheSame(killing: [Int(seed) % 3, 1], of: 3, flags: ["--max-restarts", "5"], pause: 1000...400_000, seed: seed)
    }

    @Test(arguments: 0..<2) func withShardsAndTheDynamicSchedule(seed: UInt64) throws {
        try expectTheSame(
            killing: [Int(seed)], of: 4, flags: ["--max-restarts", "0", "--shard-optimizer", "--schedule", "dynamic"], pause: 1000...200_000,
            seed: seed + 50)
    }
}

/// The same numbers for the same seed. Source: Vigna's splitmix64.
private struct SeededNumbers: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) {
        state = seed
    }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}
