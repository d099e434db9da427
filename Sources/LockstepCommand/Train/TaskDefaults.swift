import ArgumentParser
import Lockstep

/// What a task uses for the flags that are not given, and how flags and defaults become a recipe and an optimizer.
struct TaskDefaults: Sendable {
    var length: Recipe.Length
    var globalBatch: Int
    var microBatch: Int
    var learningRate: Double
    var optimizer: TrainingOptions.OptimizerName
    var momentum = 0.9
    var weightDecay = 0.0
    var betas = (0.9, 0.999)
    var warmupSteps = 0
    var decay = TrainingOptions.DecayName.constant
    var minLearningRate = 0.0
    var clipNorm = 0.0
    var dropout: Float = 0

    /// Finds out before anything is started whether the flags go together.
    func check(_ options: TrainingOptions) throws {
        _ = try optimizer(options)
        if (options.decay ?? decay) == .constant {
            if options.decaySteps != nil { throw ValidationError("--decay-steps is a cosine's; --decay is constant.") }
            if options.minLearningRate != nil { throw ValidationError("--min-learning-rate is a cosine's; --decay is constant.") }
        }
        if let least = options.minLearningRate, least > options.learningRate ?? learningRate {
            throw ValidationError(
                "--min-learning-rate is \(least.brief), which must be at most the learning rate, which is \((options.learningRate ?? learningRate).brief).")
        }
    }

    /// The flags that would say the same: for help.
    var flags: String {
        var flags =
            switch length {
            case .steps(let steps): ["--steps \(steps)"]
            case .epochs(let epochs): ["--epochs \(epochs)"]
            }
        flags += ["--global-batch-size \(globalBatch)", "--micro-batch-size \(microBatch)", "--optimizer \(optimizer.rawValue)"]
        switch optimizer {
        case .sgd: flags.append("--momentum \(momentum.brief)")
        case .adamw: flags.append("--betas \(betas.0.brief),\(betas.1.brief)")
        }
        flags += ["--weight-decay \(weightDecay.brief)", "--learning-rate \(learningRate.brief)", "--warmup-steps \(warmupSteps)"]
        flags.append("--decay \(decay.rawValue)")
        if decay == .cosine { flags.append("--min-learning-rate \(minLearningRate.brief)") }
        flags += ["--clip-norm \(clipNorm.brief)", "--dropout \(dropout)"]
        return flags.joined(separator: " ")
    }

    /// - Parameter sampleCount: samples in an epoch, which `--epochs` counts in.
    func recipe(_ options: TrainingOptions, sampleCount: Int) throws -> Recipe {
        let microBatch = options.microBatchSize ?? min(self.microBatch, options.globalBatchSize ?? self.microBatch)
        let globalBatch = options.globalBatchSize ?? max(self.globalBatch, microBatch)
        let length = options.steps.map { .steps($0) } ?? options.epochs.map { .epochs($0) } ?? self.length
        let plan = try StepPlan(count: sampleCount, globalBatch: globalBatch, microBatch: microBatch)
        let steps =
            switch length {
            case .steps(let steps): steps
            case .epochs(let epochs): plan.steps(epochs: epochs)
            }
        let rate = options.learningRate ?? learningRate
        let decay: Schedule.Decay =
            switch options.decay ?? self.decay {
            case .constant: .constant
            case .cosine:
                .cosine(endStep: options.decaySteps ?? steps, minimum: options.minLearningRate ?? min(minLearningRate, rate))
            }
        let clip = options.clipNorm ?? clipNorm
        return Recipe(
            globalBatch: globalBatch, microBatch: microBatch, length: length,
            schedule: Schedule(learningRate: rate, warmupSteps: options.warmupSteps ?? warmupSteps, decay: decay),
            seed: options.seed, clipNorm: clip > 0 ? clip : nil, reduction: options.reduction,
            precision: options.precision.precision)
    }

    func optimizer(_ options: TrainingOptions) throws -> any Optimizer {
        let decay = options.weightDecay ?? weightDecay
        switch options.optimizer ?? optimizer {
        case .sgd:
            if options.betas != nil { throw ValidationError("--betas is AdamW's; the optimizer is sgd.") }
            let momentum = options.momentum ?? momentum
            if options.nesterov, momentum == 0 { throw ValidationError("--nesterov needs a --momentum of more than 0.") }
            return SGD(momentum: momentum, nesterov: options.nesterov, weightDecay: decay)
        case .adamw:
            if options.momentum != nil || options.nesterov {
                throw ValidationError("--momentum and --nesterov are SGD's; the optimizer is adamw.")
            }
            let betas = options.betas.map { ($0.first, $0.second) } ?? betas
            return AdamW(beta1: betas.0, beta2: betas.1, weightDecay: decay)
        }
    }
}

extension Recipe {
    /// What a checkpoint keeps of a recipe; all of it but the length, which a resumed run may change.
    func description(optimizer: any Optimizer) -> [String: JSONValue] {
        var decay: JSONValue = "constant"
        if case .cosine(let endStep, let minimum) = schedule.decay {
            decay = ["cosine_end_step": .integer(endStep), "min_learning_rate": .double(minimum)]
        }
        return [
            "seed": .string(String(seed)), "global_batch_size": .integer(globalBatch), "micro_batch_size": .integer(microBatch),
            "learning_rate": .double(schedule.learningRate), "warmup_steps": .integer(schedule.warmupSteps), "decay": decay,
            "clip_norm": clipNorm.map { .double($0) } ?? .null, "reduction": .string(reduction.rawValue),
            "precision": .string(precision.name),
            "optimizer": optimizer.recipe,
        ]
    }
}

extension Optimizer {
    fileprivate var recipe: JSONValue {
        switch self {
        case let sgd as SGD:
            [
                "name": "sgd", "momentum": .double(sgd.momentum), "nesterov": .bool(sgd.nesterov),
                "weight_decay": .double(sgd.weightDecay),
            ]
        case let adam as AdamW:
            [
                "name": "adamw", "beta1": .double(adam.beta1), "beta2": .double(adam.beta2), "epsilon": .double(adam.epsilon),
                "weight_decay": .double(adam.weightDecay),
            ]
        default:
            .string("\(self)")
        }
    }
}
