import Lockstep

/// Says how training goes, about once a second: often enough to see that it lives, rarely enough to read.
struct ProgressPrinter {
    let progress: ProgressLine
    private var lastPrinted = ContinuousClock.now
    private var stepsSince = 0
    private var millisecondsSince = 0.0
    private var itemsSince = 0.0
    private var hasPrinted = false
    /// The first step of this process, which also warms it up, says nothing of the time that others will take.
    private var hasPace = false

    private static let pause = Duration.seconds(1)

    init(progress: ProgressLine) {
        self.progress = progress
    }

    /// Prints the line of a step if it is the first, the last, one with an evaluation, or if a second has passed. Where another prints,
    /// it keeps count, to go on where that one is lost.
    mutating func take(_ metrics: StepMetrics, isLast: Bool, prints: Bool) {
        stepsSince += 1
        millisecondsSince += metrics.stepMilliseconds
        itemsSince += metrics.itemsPerSecond * metrics.stepMilliseconds / 1000
        let now = ContinuousClock.now
        guard !hasPrinted || isLast || metrics.validationLoss != nil || now - lastPrinted >= ProgressPrinter.pause else { return }
        hasPrinted = prints
        defer {
            lastPrinted = now
            stepsSince = 0
            millisecondsSince = 0
            itemsSince = 0
            hasPace = true
        }
        guard prints else { return }
        var shown = metrics
        shown.itemsPerSecond = itemsSince / (millisecondsSince / 1000)
        let mean = millisecondsSince / Double(stepsSince)
        printOutput(progress.line(shown, meanStepMilliseconds: mean, showsTimeLeft: hasPace))
    }
}
