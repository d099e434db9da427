import ArgumentParser
import Glibc
import Lockstep
import RawText

/// The flags that all tasks have in common. Each task brings its own defaults for what is not given.
///
/// Numbers are parsed unconditionally, so that a negative one is seen as the value that it is and refused as such.
struct TrainingOptions: ParsableArguments {
    @Option(name: [.customShort("n"), .long], parsing: .unconditional, help: "Workers on this host.")
    var workers = 1

    @Option(parsing: .unconditional, help: "Optimizer steps to train for.")
    var steps: Int?

    @Option(parsing: .unconditional, help: "Passes over the data to train for, instead of --steps.")
    var epochs: Int?

    @Option(parsing: .unconditional, help: "Samples per optimizer step, over all workers.")
    var globalBatchSize: Int?

    @Option(parsing: .unconditional, help: "Samples in one forward and backward pass.")
    var microBatchSize: Int?

    @Option(parsing: .unconditional, help: "Seed of initial weights, sample order and dropout.")
    var seed: UInt64 = 1

    @Option(parsing: .unconditional, help: "Peak learning rate.")
    var learningRate: Double?

    @Option(help: "sgd or adamw.")
    var optimizer: OptimizerName?

    @Option(parsing: .unconditional, help: "SGD's momentum.")
    var momentum: Double?

    @Flag(help: "SGD with Nesterov's momentum.")
    var nesterov = false

    @Option(parsing: .unconditional, help: "Weight decay, for matrices only.")
    var weightDecay: Double?

    @Option(parsing: .unconditional, help: "AdamW's two decay rates, as 0.9,0.99.")
    var betas: Betas?

    @Option(parsing: .unconditional, help: "Steps over which the learning rate rises to its peak.")
    var warmupSteps: Int?

    @Option(help: "How the learning rate falls after that: constant or cosine.")
    var decay: DecayName?

    @Option(parsing: .unconditional, help: "The step at which a cosine ends; the last one if not given.")
    var decaySteps: Int?

    @Option(parsing: .unconditional, help: "Where a cosine ends.")
    var minLearningRate: Double?

    @Option(parsing: .unconditional, help: "Largest global gradient norm; 0 for no limit.")
    var clipNorm: Double?

    @Option(parsing: .unconditional, help: "Dropout rate.")
    var dropout: Float?

    @Option(help: "exact: the same bits for any number of workers; fp32, bf16: fewer bytes.")
    var reduction: Recipe.ReductionMode = .exact

    @Option(help: "fp32, or bf16: matrix products of bfloat16 with float32 sums and weights, the same bits on every CPU.")
    var precision: PrecisionName = .fp32

    @Option(parsing: .unconditional, help: "Evaluate every so many steps; also at the end, in any case.")
    var evalEvery: Int?

    @Option(parsing: .unconditional, help: "Write a checkpoint every so many steps; also at the end, in any case. Needs --out.")
    var checkpointEvery: Int?

    @Option(parsing: .unconditional, help: "Keep the newest so many checkpoints.")
    var keepCheckpoints: Int?

    @Option(parsing: .unconditional, help: "Compare the workers' weights and optimizer state every so many steps.")
    var checkEvery = 100

    @Option(help: "static: workers compute equal shares; dynamic: each takes the next micro-batch when it is free. The result is the same.")
    var schedule = MicroBatchAssignment.fixed

    @Flag(help: "Each worker keeps a part of the optimizer's state, and a copy of another's; the result is the same.")
    var shardOptimizer = false

    @Option(help: "Directory for checkpoints.")
    var out: String?

    @Flag(help: "Go on from the newest checkpoint in --out, with any number of workers.")
    var resume = false

    @Option(help: "File for one JSON object a step: a new one, or with --resume the one to go on with.")
    var metrics: String?

    @Flag(help: "Replace the file of --metrics if it is that of another run.")
    var overwriteMetrics = false

    @Option(parsing: .unconditional, help: "Threads that a worker computes with; the bits are the same.")
    var threadsPerWorker = 1

    @OptionGroup var faults: FaultOptions

    enum OptimizerName: String, ExpressibleByArgument, CaseIterable {
        case sgd
        case adamw
    }

    enum PrecisionName: String, ExpressibleByArgument, CaseIterable {
        case fp32
        case bf16

        var precision: Precision { self == .fp32 ? .float32 : .bfloat16 }
    }

    enum DecayName: String, ExpressibleByArgument, CaseIterable {
        case constant
        case cosine
    }

    struct Betas: ExpressibleByArgument {
        let first: Double
        let second: Double

        init?(argument: String) {
            let parts = argument.split(separator: ",", omittingEmptySubsequences: false).map { Double($0) }
            guard parts.count == 2, let first = parts[0], let second = parts[1] else { return nil }
            self.first = first
            self.second = second
        }
    }

    func validate() throws {
        func atLeastOne(_ value: Int?, _ flag: String) throws {
            if let value, value < 1 { throw ValidationError("\(flag) is \(value), which must be at least 1.") }
        }
        func finite(_ value: Double?, _ flag: String, atLeast least: Double = 0, below: Double = .infinity) throws {
            guard let value else { return }
            guard value.isFinite, value >= least, value < below else {
                let bound = below == .infinity ? "" : " and below \(below.brief)"
                throw ValidationError("\(flag) is \(value.brief), which must be at least \(least.brief)\(bound).")
            }
        }
        try atLeastOne(workers, "-n")
        try atLeastOne(steps, "--steps")
        try atLeastOne(epochs, "--epochs")
        try atLeastOne(globalBatchSize, "--global-batch-size")
        try atLeastOne(microBatchSize, "--micro-batch-size")
        try atLeastOne(evalEvery, "--eval-every")
        try atLeastOne(checkpointEvery, "--checkpoint-every")
        try atLeastOne(keepCheckpoints, "--keep-checkpoints")
        try atLeastOne(checkEvery, "--check-every")
        try atLeastOne(threadsPerWorker, "--threads-per-worker")
        try atLeastOne(decaySteps, "--decay-steps")
        if let warmupSteps, warmupSteps < 0 { throw ValidationError("--warmup-steps is \(warmupSteps), which must be at least 0.") }
        try faults.validate(workers: workers)
        if workers > 1024 { throw ValidationError("-n is \(workers), which must be at most 1024 on one host.") }
        if threadsPerWorker > 256 { throw ValidationError("--threads-per-worker is \(threadsPerWorker), which must be at most 256.") }
        if let learningRate, !(learningRate > 0 && learningRate.isFinite) {
            throw ValidationError("--learning-rate is \(learningRate.brief), which must be more than 0.")
        }
        try finite(momentum, "--momentum", below: 1)
        try finite(weightDecay, "--weight-decay")
        try finite(minLearningRate, "--min-learning-rate")
        try finite(clipNorm, "--clip-norm")
        try finite(dropout.map(Double.init), "--dropout", below: 1)
        try finite(betas?.first, "--betas' first rate", below: 1)
        try finite(betas?.second, "--betas' second rate", below: 1)
        if let decaySteps, let warmupSteps, decaySteps <= warmupSteps {
            throw ValidationError("--decay-steps is \(decaySteps), which must be more than --warmup-steps, which is \(warmupSteps).")
        }
        if steps != nil, epochs != nil { throw ValidationError("--steps and --epochs exclude each other.") }
        if let globalBatchSize, let microBatchSize, globalBatchSize < microBatchSize {
            throw ValidationError(
                "--global-batch-size is \(globalBatchSize), which must be at least --micro-batch-size, which is \(microBatchSize).")
        }
        for (path, flag) in [(out, "--out"), (metrics, "--metrics")] where path == "" {
            throw ValidationError("\(flag) is empty; give a path, or leave it out.")
        }
        if let metrics, let out, isOurs(metrics, in: out) {
            throw ValidationError("--metrics is \(metrics), a name that the run needs in --out: give another.")
        }
        if overwriteMetrics {
            if metrics == nil { throw ValidationError("--overwrite-metrics needs --metrics FILE.") }
            if resume { throw ValidationError("--overwrite-metrics and --resume exclude each other: a resumed run goes on with its file.") }
        }
        if out == nil {
            if resume { throw ValidationError("--resume needs --out DIR, the directory of the run to go on with.") }
            if checkpointEvery != nil { throw ValidationError("--checkpoint-every needs --out DIR.") }
            if keepCheckpoints != nil { throw ValidationError("--keep-checkpoints needs --out DIR.") }
        }
    }
}

extension TrainingOptions {
    /// What a run writes must not be what it reads, by whatever name: refused before anything is opened.
    func keepApart(from inputs: [(path: String?, flag: String)]) throws {
        guard let metrics else { return }
        for case (let path?, let flag) in inputs where FileIdentity(metrics).map({ $0 == FileIdentity(path) }) == true {
            throw ValidationError("--metrics is \(metrics), the file of \(flag), which would be changed: give another file.")
        }
    }

    /// Whether a path is that of something that the run makes in `--out`, which need not be there yet.
    private func isOurs(_ path: String, in out: String) -> Bool {
        let (folder, name) = split(path)
        guard ["checkpoints", "job.json", "job.lock", "job.secret"].contains(name) else { return false }
        if let folder = FileIdentity(folder), let out = FileIdentity(out) { return folder == out }
        return folder == split(out + "/x").folder
    }

    private func split(_ path: String) -> (folder: String, name: String) {
        let parts = path.utf8.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: true)
        let name = parts.last.map { String(Substring($0)) } ?? ""
        var folder = Substring(path.utf8.dropLast(name.utf8.count))
        while folder.utf8.count > 1, folder.utf8.last == UInt8(ascii: "/") { folder = Substring(folder.utf8.dropLast()) }
        return (folder.isEmpty ? "." : String(folder), name)
    }
}

/// Which file a path leads to: two names of one file have the same.
struct FileIdentity: Equatable {
    private let device: UInt
    private let number: UInt

    /// nil if there is nothing of that name.
    init?(_ path: String) {
        var status = stat()
        guard path.withFileName({ stat($0, &status) }) == 0 else { return nil }
        device = UInt(status.st_dev)
        number = UInt(status.st_ino)
    }
}

extension Recipe.ReductionMode: ExpressibleByArgument {}
extension MicroBatchAssignment: ExpressibleByArgument {}

extension Double {
    /// As people write it: 1 and not 1.0.
    var brief: String {
        let text = "\(self)"
        return text.hasSuffix(".0") ? String(text.dropLast(2)) : text
    }
}
