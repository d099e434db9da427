/// The line that tells a person how a run is doing.
///
///     step 120/600  loss 0.3124  lr 9.8e-3  14.2 k samples/s  4 workers  eta 12 s
public struct ProgressLine: Sendable {
    /// The number of steps of the whole run.
    public let totalSteps: Int
    /// What an item is called: "samples" or "tokens".
    public let items: String

    /// For a run of so many steps, whose items are called this.
    public init(totalSteps: Int, items: String) {
        self.totalSteps = totalSteps
        self.items = items
    }

    /// The line for a step, without a line break.
    ///
    /// - Parameters:
    ///   - metrics: the step's record. Validation figures are shown if it has any.
    ///   - meanStepMilliseconds: what a step took lately, for the time that is left; the step's own time unless given.
    ///   - showsTimeLeft: whether that is known yet.
    public func line(
        _ metrics: StepMetrics, meanStepMilliseconds: Double? = nil, showsTimeLeft: Bool = true
    ) -> String {
        var parts = [
            "step \(metrics.step)/\(totalSteps)",
            "loss \(Numerals.significant(metrics.loss, digits: 4))",
            "lr \(Numerals.scientific(metrics.learningRate, digits: 2))",
            "\(Numerals.scaled(metrics.itemsPerSecond)) \(items)/s",
            metrics.worldSize == 1 ? "1 worker" : "\(metrics.worldSize) workers",
        ]
        if let loss = metrics.validationLoss {
            parts.append("validation loss \(Numerals.significant(loss, digits: 4))")
        }
        if let accuracy = metrics.validationAccuracy {
            parts.append("accuracy \(Numerals.significant(accuracy, digits: 4))")
        }
        if showsTimeLeft, metrics.step < totalSteps {
            let seconds = (meanStepMilliseconds ?? metrics.stepMilliseconds) / 1000 * Double(totalSteps - metrics.step)
            parts.append("eta \(Numerals.duration(seconds: seconds))")
        }
        return parts.joined(separator: "  ")
    }
}
