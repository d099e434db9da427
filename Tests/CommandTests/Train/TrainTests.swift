import Testing

/// Few steps of the built-in tasks, with every number of workers, in real processes.
@Suite(.serialized) struct TrainTests {
    static let digits = ["train", "digits", "--hidden", "32", "--global-batch-size", "40", "--decay-steps", "12"]

    /// The digest of twelve steps that nothing interrupts, with one worker.
    static func wholeDigest() throws -> String {
        let alone = try startLockstep(digits + ["--steps", "12"]).ended()
        #expect(alone.status == 0 && alone.errors.isEmpty)
        return try #require(alone.digest)
    }

    @Test func oneDigestForEveryNumberOfWorkers() throws {
        let expected = try TrainTests.wholeDigest()
        for workers in [2, 3, 5, 8] {
            let run = try startLockstep(TrainTests.digits + ["--steps", "12", "-n", "\(workers)"]).ended()
            #expect(run.status == 0 && run.digest == expected, "\(workers) workers: \(run.output)\(run.errors)")
        }
    }

    @Test func anotherSeedGivesAnotherDigest() throws {
        let other = try startLockstep(TrainTests.digits + ["--steps", "12", "--seed", "2"]).ended()
        #expect(try other.digest != nil && other.digest != TrainTests.wholeDigest())
    }

    @Test(arguments: [(3, 2), (1, 5)])
    func stoppedAtHalfAndResumedWithOtherWorkers(before: Int, after: Int) throws {
        let directory = try TemporaryDirectory()
        let files = ["--out", directory("run"), "--metrics", directory("metrics")]
        let half = try startLockstep(TrainTests.digits + files + ["--steps", "6", "-n", "\(before)"]).ended()
        #expect(half.status == 0 && half.digest != nil)
        let rest = try startLockstep(TrainTests.digits + files + ["--steps", "12", "-n", "\(after)", "--resume"]).ended()
        #expect(try rest.digest == TrainTests.wholeDigest())
        #expect(rest.output.contains("resumed after step 6\n"))

        let records = try contents(of: directory("metrics")).split(separator: "\n").map { try Record(String($0)) }
        #expect(records.map { $0["step"] } == (1...12).map(Double.init))
        #expect(records.map { $0["world_size"] } == Array(repeating: Double(before), count: 6) + Array(repeating: Double(after), count: 6))
    }

    /// A run that is killed has more records in its metrics file than steps in its last checkpoint: the rest is made again.
    @Test func recordsAfterTheCheckpointAreMadeAgain() throws {
        let directory = try TemporaryDirectory()
        let files = ["--out", directory("run"), "--metrics", directory("metrics")]
        _ = try startLockstep(TrainTests.digits + files + ["--steps", "6"]).ended()
        let later = #"{"step":7,"loss":1}"# + "\n" + #"{"step":8,"lo"#
        try write(contents(of: directory("metrics")) + later, to: directory("metrics"))
        _ = try startLockstep(TrainTests.digits + files + ["--steps", "9", "--resume"]).ended()
        let records = try contents(of: directory("metrics")).split(separator: "\n").map { try Record(String($0)) }
        #expect(records.map { $0["step"] } == (1...9).map(Double.init))
    }

    @Test(arguments: [1, 3])
    func metricsAreOneObjectAStep(workers: Int) throws {
        let directory = try TemporaryDirectory()
        let run = try startLockstep(
            TrainTests.digits + ["--steps", "5", "--eval-every", "2", "-n", "\(workers)", "--metrics", directory("metrics")]
        ).ended()
        #expect(run.status == 0)
        let text = contents(of: directory("metrics"))
        let records = try text.split(separator: "\n").map { try Record(String($0)) }
        #expect(records.count == 5 && text.hasSuffix("\n"))
        let names = [
            "step", "loss", "learning_rate", "gradient_norm", "items_per_second", "step_ms", "compute_ms", "exposed_reduce_ms",
            "optimizer_ms", "bytes_sent", "world_size", "time",
        ] + (workers > 1 ? ["slowest_rank", "slowest_score"] : [])
        for (index, record) in records.enumerated() {
            let step = index + 1
            let isEvaluated = step % 2 == 0 || step == 5
            #expect(record.names == names + (isEvaluated ? ["validation_loss", "validation_accuracy"] : []))
            #expect(record["step"] == Double(step) && record["world_size"] == Double(workers))
            #expect((record["bytes_sent"] ?? 0 > 0) == (workers > 1))
            let parts = (record["compute_ms"] ?? 0) + (record["exposed_reduce_ms"] ?? 0) + (record["optimizer_ms"] ?? 0)
            #expect(parts > 0 && parts <= (record["step_ms"] ?? 0))
        }
    }

    @Test func aFinishedRunResumesToItsOwnDigest() throws {
        let directory = try TemporaryDirectory()
        let whole = try startLockstep(TrainTests.digits + ["--steps", "12", "--out", directory("run")]).ended()
        let before = entries(below: directory("run"))
        let again = try startLockstep(TrainTests.digits + ["--steps", "12", "--out", directory("run"), "--resume", "-n", "2"]).ended()
        #expect(again.status == 0 && again.digest != nil && again.digest == whole.digest)
        #expect(again.lines.contains { $0.hasPrefix("test loss ") })
        #expect(entries(below: directory("run")) == before)
    }

    @Test func theDigestIsThatOfTheFile() throws {
        let directory = try TemporaryDirectory()
        let run = try startLockstep(TrainTests.digits + ["--steps", "3", "--out", directory("run")]).ended()
        let listed = try lockstep("inspect", directory("run"))
        #expect(listed.status == 0 && run.digest != nil && listed.digest == run.digest)
        #expect(listed.lines.contains { $0.hasPrefix("layers.0.weight ") && $0.contains(" [32, 64] ") && $0.contains(" F32 ") })
    }
}

/// One line of a metrics file: a flat JSON object of numbers, its names in their order.
struct Record {
    let names: [String]
    private let values: [String: Double]

    init(_ line: String) throws {
        try #require(line.hasPrefix("{") && line.hasSuffix("}"), "\(line)")
        var names: [String] = []
        var values: [String: Double] = [:]
        for member in line.dropFirst().dropLast().split(separator: ",") {
            let parts = member.split(separator: ":")
            try #require(parts.count == 2 && parts[0].hasPrefix("\"") && parts[0].hasSuffix("\""), "\(line)")
            let name = String(parts[0].dropFirst().dropLast())
            names.append(name)
            let value: Double = try #require(Double(String(parts[1])), "\(line)")
            values[name] = value
        }
        self.names = names
        self.values = values
    }

    subscript(_ name: String) -> Double? { values[name] }
}
