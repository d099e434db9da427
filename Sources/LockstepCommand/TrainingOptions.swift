import ArgumentParser
import Lockstep

/// The flags that all tasks have in common. Each task brings its own defaults for what is not given.
struct TrainingOptions: ParsableArguments {
    @Option(name: [.customShort("n"), .long], help: "Workers on this host.")
    var workers = 1

    @Option(help: "Optimizer steps to train for.")
    var steps: Int?

    @Option(help: "Passes over the data to train for, instead of --steps.")
    var epochs: Int?

    @Option(help: "Samples per optimizer step, over all workers.")
    var globalBatchSize: Int?

    @Option(help: "Samples in one forward and backward pass.")
    var microBatchSize: Int?

    @Option(help: "Seed of initial weights, sample order and dropout.")
    var seed: UInt64 = 1

    @Option(help: "Peak learning rate.")
    var learningRate: Double?

    @Option(help: "sgd or adamw.")
    var optimizer: OptimizerName?

    @Option(help: "SGD's momentum.")
    var momentum: Double?

    @Flag(help: "SGD with Nesterov's momentum.")
    var nesterov = false

    @Option(help: "Weight decay, for matrices only.")
    var weightDecay: Double?

    @Option(help: "AdamW's two decay rates, as 0.9,0.99.")
    var betas: Betas?

    @Option(help: "Steps over which the learning rate rises to its peak.")
    var warmupSteps: Int?

    @Option(help: "How the learning rate falls after that: constant or cosine.")
    var decay: DecayName?

    @Option(help: "The step at which a cosine ends; the last one if not given.")
    var decaySteps: Int?

    @Option(help: "Where a cosine ends.")
    var minLearningRate: Double?

    @Option(help: "Largest global gradient norm; 0 for no limit.")
    var clipNorm: Double?

    @Option(help: "Dropout rate.")
    var dropout: Float?

    @Option(help: "exact: the same bits for any number of workers; fp32: fewer bytes on the wire.")
    var reduction: Recipe.ReductionMode = .exact

    @Option(help: "Evaluate every so many steps; also at the end, in any case.")
    var evalEvery: Int?

    @Option(help: "Write a checkpoint every so many steps; also at the end, in any case. Needs --out.")
    var checkpointEvery: Int?

    @Option(help: "Keep the newest so many checkpoints.")
    var keepCheckpoints: Int?

    @Option(help: "Directory for checkpoints.")
    var out: String?

    @Flag(help: "Go on from the newest checkpoint in --out, with any number of workers.")
    var resume = false

    @Option(help: "File for one JSON object a step.")
    var metrics: String?

    @Option(help: "Threads of a worker's matrix products; part of what the bits depend on.")
    var threadsPerWorker = 1

    enum OptimizerName: String, ExpressibleByArgument, CaseIterable {
        case sgd
        case adamw
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
                let bound = below == .infinity ? "" : " and below \(below)"
                throw ValidationError("\(flag) is \(value), which must be at least \(least)\(bound).")
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
        try atLeastOne(threadsPerWorker, "--threads-per-worker")
        try atLeastOne(decaySteps, "--decay-steps")
        if let warmupSteps, warmupSteps < 0 { throw ValidationError("--warmup-steps is \(warmupSteps), which must be at least 0.") }
        if workers > 1024 { throw ValidationError("-n is \(workers), which must be at most 1024 on one host.") }
        if let learningRate, !(learningRate > 0 && learningRate.isFinite) {
            throw ValidationError("--learning-rate is \(learningRate), which must be more than 0.")
        }
        try finite(momentum, "--momentum", below: 1)
        try finite(weightDecay, "--weight-decay")
        try finite(minLearningRate, "--min-learning-rate")
        try finite(clipNorm, "--clip-norm")
        try finite(dropout.map(Double.init), "--dropout", below: 1)
        try finite(betas?.first, "--betas' first rate", below: 1)
        try finite(betas?.second, "--betas' second rate", below: 1)
        if steps != nil, epochs != nil { throw ValidationError("--steps and --epochs exclude each other.") }
        if let globalBatchSize, let microBatchSize, globalBatchSize < microBatchSize {
            throw ValidationError(
                "--global-batch-size is \(globalBatchSize), which must be at least --micro-batch-size, which is \(microBatchSize).")
        }
        if out == nil {
            if resume { throw ValidationError("--resume needs --out DIR, the directory of the run to go on with.") }
            if checkpointEvery != nil { throw ValidationError("--checkpoint-every needs --out DIR.") }
            if keepCheckpoints != nil { throw ValidationError("--keep-checkpoints needs --out DIR.") }
        }
    }
}

extension Recipe.ReductionMode: ExpressibleByArgument {}
