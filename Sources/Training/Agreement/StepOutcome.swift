/// What a step's section gives on every rank alike: the form in which the ring keeps it for those who are behind, or come.
struct StepOutcome {
    /// The step's number, from 0.
    var step: Int
    /// Otherwise the step is done again, on coarser grids.
    var isCommitted: Bool
    var worldSize: Int
    /// Of the mean gradient, before clipping; 0 where the step was not committed.
    var gradientNorm: Double
    var control: StepControl

    /// Tells a step's values from another section's: no number that anything else would begin with.
    private static let mark = 0x1.6c6f636b73746p+30
    private static let placesBefore = 5

    init(step: Int, isCommitted: Bool, worldSize: Int, gradientNorm: Double, control: StepControl) {
        self.step = step
        self.isCommitted = isCommitted
        self.worldSize = worldSize
        self.gradientNorm = gradientNorm
        self.control = control
    }

    /// nil if these are the values of some other section.
    init?(values: [Double], microBatches: (_ step: Int) -> Int, parameters: Int) {
        guard values.count > StepOutcome.placesBefore, values[0] == StepOutcome.mark, let step = Int(exactly: values[1]), step >= 0,
            let worldSize = Int(exactly: values[3]), worldSize >= 1,
            let control = StepControl(
                values: Array(values.dropFirst(StepOutcome.placesBefore)), microBatches: microBatches(step), parameters: parameters)
        else { return nil }
        self.init(step: step, isCommitted: values[2] != 0, worldSize: worldSize, gradientNorm: values[4], control: control)
    }

    var values: [Double] {
        [StepOutcome.mark, Double(step), isCommitted ? 1 : 0, Double(worldSize), gradientNorm] + control.values
    }
}
