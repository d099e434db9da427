import Lockstep

/// The metrics file of a run, written by whichever rank is first: every rank keeps the last records, so that another can go on with the file
/// where the one that wrote it is lost, with no step missing and none twice.
struct MetricsLog {
    private let path: String?
    private var file: MetricsFile?
    /// The records of the last steps. Nobody is more than a step ahead of anybody.
    private var recent: [StepMetrics] = []

    private static let kept = 2

    init(path: String?) {
        self.path = path
    }

    /// Opens the file on the rank that is first when the run begins.
    ///
    /// - Parameter resumedStep: as `MetricsFile` has it.
    mutating func open(resumedStep: Int?) throws {
        guard let path else { return }
        file = try MetricsFile(path: path, resumedStep: resumedStep)
    }

    /// A step that is in the file, or is not, if who was to write it is lost: known, and not to be written unless it is missing.
    mutating func remember(_ metrics: StepMetrics) {
        recent = (recent + [metrics]).suffix(MetricsLog.kept)
    }

    /// The record of a step, to be written if this rank is first now.
    mutating func take(_ metrics: StepMetrics, writes: Bool) throws {
        remember(metrics)
        guard writes, let path else {
            file = nil
            return
        }
        // Taken over from another, or gone back to an earlier step: what is in the file of this step and later ones is made again.
        if file == nil || file?.lastStep ?? 0 >= metrics.step { file = try MetricsFile(path: path, resumedStep: metrics.step - 1) }
        let last = file?.lastStep ?? 0
        for record in recent where record.step > last && record.step < metrics.step { try file?.append(record) }
        try file?.append(metrics)
    }
}
