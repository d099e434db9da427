import Glibc
import Lockstep

/// The metrics file of a run, written by whichever rank is first: every rank keeps the last records, so that another can go on with the file
/// where the one that wrote it is lost, with no step missing and none twice.
///
/// Training does not end for the sake of its metrics: once it has begun, what cannot be written is said once and tried again with the
/// next step, all that is missing first.
struct MetricsLog {
    private let path: String?
    private var file: MetricsFile?
    /// The records of the last steps.
    private var recent: [StepMetrics] = []
    /// Since the first write that failed, until one works again.
    private var isFailing = false
    /// Before this nothing is opened, where opening is what failed: it reads the file.
    private var nextOpening: ContinuousClock.Instant?

    /// As many steps may be written late.
    private static let kept = 1000
    private static let pauseBetweenOpenings = Duration.seconds(1)

    init(path: String?) {
        self.path = path
    }

    /// Opens the file on the rank that is first when the run begins.
    ///
    /// - Parameters:
    ///   - resumedStep: as `MetricsFile` has it.
    ///   - overwrites: likewise.
    mutating func open(resumedStep: Int?, overwrites: Bool) throws {
        guard let path else { return }
        file = nil
        file = try MetricsFile(path: path, resumedStep: resumedStep, overwrites: overwrites)
    }

    /// A step that is in the file, or is not, if who was to write it is lost: known, and not to be written unless it is missing.
    mutating func remember(_ metrics: StepMetrics) {
        // A run that has gone back to an earlier step makes the later ones again.
        recent.removeAll { $0.step >= metrics.step }
        recent = (recent + [metrics]).suffix(MetricsLog.kept)
    }

    /// The record of a step, to be written if this rank is first now.
    ///
    /// - Returns: what people are to be told of it, if anything.
    mutating func take(_ metrics: StepMetrics, writes: Bool) -> String? {
        remember(metrics)
        guard writes, let path else {
            file = nil
            return nil
        }
        if let nextOpening, ContinuousClock.now < nextOpening { return nil }
        do throws(TelemetryError) {
            let missing = try write(metrics, to: path)
            nextOpening = nil
            defer { isFailing = false }
            guard isFailing else { return nil }
            return "the metrics file \(path) is written again" + (missing.map { "; steps \($0.lowerBound) to \($0.upperBound) are missing in it" } ?? "")
        } catch {
            failed(error)
            defer { isFailing = true }
            return isFailing ? nil : "\(error); the run goes on, and tries again"
        }
    }

    /// Gives the steps that the file lacks for good, if any.
    private mutating func write(_ metrics: StepMetrics, to path: String) throws(TelemetryError) -> ClosedRange<Int>? {
        // Taken over from another, or gone back to an earlier step: what is in the file of this step and later ones is made again.
        if file.map({ $0.lastStep ?? 0 >= metrics.step }) ?? true {
            // One at a time: it is locked.
            file = nil
            file = try MetricsFile(path: path, resumedStep: metrics.step - 1)
        }
        guard let file else { return nil }
        let last = file.lastStep ?? 0
        let unwritten = recent.filter { $0.step > last }
        for record in unwritten { try file.append(record) }
        guard let first = unwritten.first?.step, first > last + 1 else { return nil }
        return last + 1...first - 1
    }

    private mutating func failed(_ error: TelemetryError) {
        // A full disk may have room again at any time. With anything else the file may be another by now, or stale.
        if case .system(_, _, ENOSPC) = error, file != nil { return }
        if case .system(_, _, EDQUOT) = error, file != nil { return }
        if case .system(_, _, EFBIG) = error, file != nil { return }
        file = nil
        nextOpening = ContinuousClock.now + MetricsLog.pauseBetweenOpenings
    }
}
