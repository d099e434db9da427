import Glibc
import Lockstep

/// A run of a built-in task, from the first join to the last line: what all tasks have in common.
struct TaskRun<Data: Dataset, Validation: Dataset> {
    let options: TrainingOptions
    let ring: Ring
    let trainer: Trainer<Data>
    let validation: Validation
    let score: (Validation.Batch, Tape) throws -> Score
    /// All that the bits depend on and a checkpoint must know: what `--resume` compares.
    let recipe: [String: JSONValue]
    /// "samples" or "tokens".
    let items: String
    /// What the last evaluation's figures are called: "test" or "validation".
    let validationName: String

    private var isFirst: Bool { trainer.isFirst }

    /// Trains to the end, saying on the first rank how it goes. A worker that comes while the job runs gets its state from the others.
    func run() throws {
        StopRequest.listen()
        trainer.compareEvery = options.checkEvery
        trainer.assignment = options.schedule
        let directory = options.out.map { CheckpointDirectory($0) }
        if options.shardOptimizer { trainer.shardOptimizer() }
        trainer.warn = { printError($0) }
        trainer.fallback = { try directory?.latest().checkpoint }
        var log = MetricsLog(path: options.metrics)
        if ring.isNewcomer {
            if let metrics = try trainer.enter() { log.remember(metrics) }
        } else {
            try begin(directory, &log)
        }
        let evaluation = try train(directory, &log)
        // Printed on every rank that becomes first before all know that it has been.
        try ring.section {
            if isFirst { conclude(evaluation) }
            try ring.barrier()
            return []
        }
        guard evaluation.loss.isFinite else {
            throw UsageError(
                "the last step left weights with which the \(validationName) loss is \(evaluation.loss): try a smaller --learning-rate, or --clip-norm")
        }
    }

    private func begin(_ directory: CheckpointDirectory?, _ log: inout MetricsLog) throws {
        try trainer.agree(on: Digest.of(JSONValue.object(whatRanksShare).serialized().utf8), what: "flags or data")
        if options.resume {
            try trainer.restore { try prepare(directory) }
        } else {
            try ring.together("opening its files") { if isFirst { _ = try prepare(directory) } }
        }
        try ring.together("opening its files") {
            if isFirst {
                try log.open(resumedStep: options.resume ? trainer.committedSteps : nil, overwrites: options.overwriteMetrics)
            }
        }
        introduce()
    }

    /// Gives the evaluation after the last step.
    private func train(_ directory: CheckpointDirectory?, _ log: inout MetricsLog) throws -> Evaluation {
        var printer = ProgressPrinter(progress: ProgressLine(totalSteps: trainer.totalSteps, items: items))
        var lastEvaluation: Evaluation?
        var wasFirst = isFirst
        while !trainer.isDone {
            var metrics = try trainer.step()
            let isLast = trainer.isDone
            if isLast || isDue(options.evalEvery) {
                let evaluation = try trainer.evaluate(validation, score: score)
                metrics.validationLoss = evaluation.loss
                metrics.validationAccuracy = evaluation.accuracy
                lastEvaluation = evaluation
            }
            printer.take(metrics, isLast: isLast, prints: isFirst)
            if let news = log.take(metrics, writes: isFirst) { printError(news) }
            if let step = trainer.takeSetback(), isFirst {
                printError("optimizer state was lost with both workers that had it; going on from the checkpoint of step \(step)")
            }
            if let slow = trainer.takeSlowWorker(), isFirst {
                printError("rank \(slow.rank) is slow: a micro-batch takes it \(slow.score.rounded(places: 1)) times what it takes others")
            }
            if isFirst, !wasFirst {
                // As early as this rank is the one that writes. If it may not, the next save says why.
                if let lack = (try? directory?.lock()) ?? nil { printError(lack.description) }
                wasFirst = true
            }
            let stops = trainer.isStopRequested && !isLast
            if let directory, isLast || stops || isDue(options.checkpointEvery) {
                try trainer.save(
                    to: directory, recipe: .object(recipe), keep: options.keepCheckpoints ?? Int.max, inBackground: !isLast && !stops)
            }
            if stops { throw stop(directory) }
        }
        return try lastEvaluation ?? trainer.evaluate(validation, score: score)
    }

    /// Says that the run has been stopped, and what is left of it.
    private func stop(_ directory: CheckpointDirectory?) -> RunStopped {
        if isFirst {
            if let order = ring.stopOrder, ring.coordinatorLoss == nil { printError(order) }
            printOutput(
                "stopped after step \(trainer.committedSteps)"
                    + (directory == nil ? "; without --out nothing is kept" : "; --resume goes on from there"))
        }
        return RunStopped(step: trainer.committedSteps)
    }

    /// The recipe, and what decides which collective operations there are.
    private var whatRanksShare: [String: JSONValue] {
        var all = recipe
        all["arithmetic"] = .integer(Arithmetic.version)
        all["total_steps"] = .integer(trainer.totalSteps)
        all["eval_every"] = .integer(options.evalEvery ?? 0)
        all["checkpoint_every"] = .integer(options.checkpointEvery ?? 0)
        all["resume"] = .bool(options.resume)
        all["out"] = .bool(options.out != nil)
        all["check_every"] = .integer(options.checkEvery)
        all["schedule"] = .string(options.schedule.rawValue)
        all["shard_optimizer"] = .bool(options.shardOptimizer)
        return all
    }

    private func isDue(_ every: Int?) -> Bool {
        every.map { trainer.committedSteps % $0 == 0 } ?? false
    }

    /// Finds the newest checkpoint if asked to, and makes sure before the first step that checkpoints can be written.
    private func prepare(_ directory: CheckpointDirectory?) throws -> Checkpoint? {
        guard let directory else { return nil }
        // To look for what is not there, nothing is made.
        if !options.resume || directory.exists, let lack = try directory.lock() { printError(lack.description) }
        var checkpoint: Checkpoint?
        if options.resume {
            checkpoint = try newest(directory)
            try compare(checkpoint!)
        } else {
            let (whole, damaged) = try directory.latest()
            if whole != nil || !damaged.isEmpty {
                throw UsageError("\(directory.path) has checkpoints already: add --resume to go on with them, or choose another --out")
            }
        }
        try directory.prepare()
        return checkpoint
    }

    private func newest(_ directory: CheckpointDirectory) throws -> Checkpoint {
        let (checkpoint, damaged) = try directory.latest()
        guard let checkpoint else {
            guard let first = damaged.first else {
                throw UsageError("there is no checkpoint in \(directory.path) to resume from: check --out, or leave out --resume")
            }
            throw CheckpointError.onlyDamaged(path: directory.path, count: damaged.count, first: first.error.description)
        }
        for one in damaged { printError("\(one.error); an older checkpoint is taken") }
        return checkpoint
    }

    /// A resumed run that would not give the bits of one that never stopped is refused.
    private func compare(_ checkpoint: Checkpoint) throws {
        try Trainer<Data>.requireArithmetic(of: checkpoint)
        let stored = checkpoint.manifest.recipe.object ?? [:]
        for key in Set(stored.keys).union(recipe.keys).sorted() where stored[key] != recipe[key] {
            if key == "decay", let end = stored[key]?["cosine_end_step"]?.integer, recipe[key]?["cosine_end_step"] != nil,
                end != recipe[key]?["cosine_end_step"]?.integer
            {
                throw UsageError(
                    "\(checkpoint.path) was made with a cosine that ends at step \(end): add --decay-steps \(end) to go on with it")
            }
            let was = stored[key]?.serialized() ?? "nothing"
            let isNow = recipe[key]?.serialized() ?? "nothing"
            throw UsageError(
                "\(checkpoint.path) was made with \(key) \(was.shortened), this run has \(isNow.shortened): "
                    + "give the flags and data of the run to go on with it, or begin another in another --out")
        }
        if checkpoint.manifest.step > trainer.totalSteps {
            throw UsageError(
                "\(checkpoint.path) has \(count(checkpoint.manifest.step, "step")), more than the \(trainer.totalSteps) asked for: raise --steps or --epochs")
        }
    }

    private func introduce() {
        guard isFirst else { return }
        let recipe = trainer.recipe
        let microBatches = (recipe.globalBatch - 1) / recipe.microBatch + 1
        printOutput(
            "\(trainer.arena.elementCount) parameters, \(count(trainer.totalSteps, "step")) of \(count(recipe.globalBatch, "sample")) in "
                + "\(count(microBatches, "micro-batch", "micro-batches")) of \(recipe.microBatch), "
                + "\(count(trainer.worldSize, "worker")), \(recipe.reduction.rawValue) sum")
        if trainer.committedSteps > 0 { printOutput("resumed after step \(trainer.committedSteps)") }
        if trainer.worldSize > microBatches {
            printError(
                idleWorkers(trainer.worldSize - microBatches, of: trainer.worldSize)
                    + ": a step has \(count(microBatches, "micro-batch", "micro-batches")); "
                    + "raise --global-batch-size or lower --micro-batch-size")
        }
    }

    private func idleWorkers(_ idle: Int, of all: Int) -> String {
        "\(idle) of \(count(all, "worker")) \(idle == 1 ? "has" : "have") nothing to do"
    }

    private func conclude(_ evaluation: Evaluation) {
        var line = "\(validationName) loss \(evaluation.loss.rounded(places: 4))"
        if let accuracy = evaluation.accuracy { line += "  \(validationName) accuracy \(accuracy.rounded(places: 4))" }
        printOutput(line)
        printOutput("weights sha256 \(trainer.weightsDigest.hex)")
    }
}

/// Something that a user asked for and cannot have: one line.
struct UsageError: Error, CustomStringConvertible {
    let description: String

    init(_ description: String) {
        self.description = description
    }
}

extension String {
    /// For values in messages that may be whole vocabularies.
    fileprivate var shortened: String {
        count <= 60 ? self : prefix(57) + "..."
    }
}

extension Double {
    /// With so many decimals: "0.9800".
    func rounded(places: Int) -> String {
        guard isFinite else { return isNaN ? "nan" : "\(self)" }
        var scale = 1.0
        for _ in 0..<places { scale *= 10 }
        let scaled = (magnitude * scale).rounded()
        guard scaled < 1e15 else { return "\(self)" }
        let digits = String(Int(scaled))
        let padded = String(repeating: "0", count: max(0, places + 1 - digits.count)) + digits
        return (self < 0 ? "-" : "") + padded.dropLast(places) + "." + padded.suffix(places)
    }
}
