/// What is known of one step once it is committed: one record of the metrics file.
///
/// Times are of the process that writes the record; loss, gradient norm and the validation figures are the whole job's
/// and the same on every rank.
public struct StepMetrics: Sendable, Equatable {
    /// The number of steps committed, this one included: the first step's record says 1.
    public var step: Int
    /// The mean loss over the global batch.
    public var loss: Double
    /// The learning rate that the optimizer used.
    public var learningRate: Double
    /// The 2-norm of the mean gradient over all parameters, before clipping.
    public var gradientNorm: Double
    /// Samples, or tokens for text, of the global batch by the step's time.
    public var itemsPerSecond: Double
    /// The whole step.
    public var stepMilliseconds: Double
    /// Forward and backward passes.
    public var computeMilliseconds: Double
    /// The time that the computing thread waited for the reduction: what was not hidden behind the backward pass.
    public var exposedReduceMilliseconds: Double
    /// Clipping and the optimizer's step.
    public var optimizerMilliseconds: Double
    /// The bytes that this process sent to other workers during the step.
    public var bytesSent: Int
    /// The number of workers that committed the step.
    public var worldSize: Int
    /// When the step was committed: seconds since 1970, by this host's clock; nil if that is not known.
    public var time: Double?
    /// The worker that took longest for a micro-batch; nil where there is only one.
    public var slowestRank: Int?
    /// Its time by the median of all; nil where there is only one.
    public var slowestScore: Double?
    /// The mean loss over the validation data, if the step was followed by an evaluation.
    public var validationLoss: Double?
    /// The part of the validation data that was classified rightly, in 0...1, if that was evaluated.
    public var validationAccuracy: Double?

    /// A record with these values.
    public init(
        step: Int, loss: Double, learningRate: Double, gradientNorm: Double, itemsPerSecond: Double,
        stepMilliseconds: Double, computeMilliseconds: Double, exposedReduceMilliseconds: Double,
        optimizerMilliseconds: Double, bytesSent: Int, worldSize: Int, time: Double? = nil, slowestRank: Int? = nil,
        slowestScore: Double? = nil, validationLoss: Double? = nil, validationAccuracy: Double? = nil
    ) {
        self.step = step
        self.loss = loss
        self.learningRate = learningRate
        self.gradientNorm = gradientNorm
        self.itemsPerSecond = itemsPerSecond
        self.stepMilliseconds = stepMilliseconds
        self.computeMilliseconds = computeMilliseconds
        self.exposedReduceMilliseconds = exposedReduceMilliseconds
        self.optimizerMilliseconds = optimizerMilliseconds
        self.bytesSent = bytesSent
        self.worldSize = worldSize
        self.time = time
        self.slowestRank = slowestRank
        self.slowestScore = slowestScore
        self.validationLoss = validationLoss
        self.validationAccuracy = validationAccuracy
    }

    /// The record as one JSON object without a line break.
    ///
    /// The step comes first, and the other members in the order above, with the names that README lists. Numbers are
    /// spelled with the fewest digits that read back the same; NaN and infinities, which JSON lacks, are null. Those of the
    /// slowest worker and of validation are there only if there are values.
    public var json: String {
        var members = [
            ("step", String(step)),
            ("loss", StepMetrics.number(loss)),
            ("learning_rate", StepMetrics.number(learningRate)),
            ("gradient_norm", StepMetrics.number(gradientNorm)),
            ("items_per_second", StepMetrics.number(itemsPerSecond)),
            ("step_ms", StepMetrics.number(stepMilliseconds)),
            ("compute_ms", StepMetrics.number(computeMilliseconds)),
            ("exposed_reduce_ms", StepMetrics.number(exposedReduceMilliseconds)),
            ("optimizer_ms", StepMetrics.number(optimizerMilliseconds)),
            ("bytes_sent", String(bytesSent)),
            ("world_size", String(worldSize)),
        ]
        if let time { members.append(("time", StepMetrics.number(time))) }
        if let slowestRank { members.append(("slowest_rank", String(slowestRank))) }
        if let slowestScore { members.append(("slowest_score", StepMetrics.number(slowestScore))) }
        if let validationLoss { members.append(("validation_loss", StepMetrics.number(validationLoss))) }
        if let validationAccuracy { members.append(("validation_accuracy", StepMetrics.number(validationAccuracy))) }
        return "{" + members.map { "\"\($0)\":\($1)" }.joined(separator: ",") + "}"
    }

    private static func number(_ value: Double) -> String {
        value.isFinite ? value.description : "null"
    }
}
