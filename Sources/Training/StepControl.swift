/// What the ranks tell each other about a step besides gradients, as one vector that the ring sums.
///
/// Every micro-batch has places of its own, into which only the rank that computed it writes; all others add zero. So each
/// number arrives as it was written, whatever the number of ranks, NaN and infinity included:
///
///     4 * m ..< 4 * m + 4    of micro-batch m: weight, loss sum, rank + 1, 1 + the first parameter whose gradient is not finite
///     4 * M + p              of parameter p: on how many micro-batches its gradient did not fit the grid
///     4 * M + P + 0, 1, 2    how many ranks ask to form the ring anew, to stop, to look why a checkpoint could not be saved
///     4 * M + P + 3 + i      of the member at place i: its milliseconds a micro-batch; 0 if it had none
package struct StepControl {
    package private(set) var values: [Double]
    package let microBatches: Int
    package let parameters: Int

    private static let placesPerMicroBatch = 4

    /// What a rank may ask all others for.
    package enum Request: Int, CaseIterable {
        case reform
        case stop
        case judgeSave
    }

    package init(microBatches: Int, parameters: Int) {
        self.microBatches = microBatches
        self.parameters = parameters
        values = [Double](repeating: 0, count: microBatches * StepControl.placesPerMicroBatch + parameters)
    }

    /// The sum that arrived elsewhere; nil if it cannot be one of these.
    package init?(values: [Double], microBatches: Int, parameters: Int) {
        guard values.count > microBatches * StepControl.placesPerMicroBatch + parameters + Request.allCases.count else { return nil }
        self.microBatches = microBatches
        self.parameters = parameters
        self.values = values
    }

    /// This rank has computed a micro-batch.
    package mutating func record(microBatch id: Int, weight: Double, lossSum: Double, rank: Int) {
        let place = id * StepControl.placesPerMicroBatch
        values[place] = weight
        values[place + 1] = lossSum
        values[place + 2] = Double(rank + 1)
    }

    package mutating func recordNotFinite(microBatch id: Int, parameter: Int) {
        let place = id * StepControl.placesPerMicroBatch + 3
        if values[place] == 0 { values[place] = Double(parameter + 1) }
    }

    package mutating func recordMisfit(parameter: Int) {
        values[microBatches * StepControl.placesPerMicroBatch + parameter] += 1
    }

    /// The vector for the ring: what is recorded here, and what goes with this attempt at the step only.
    package func contribution(requests: [Request], place: Int, worldSize: Int, milliseconds: Double) -> StepControl {
        var control = self
        var attempt = [Double](repeating: 0, count: Request.allCases.count + worldSize)
        for request in requests { attempt[request.rawValue] = 1 }
        attempt[Request.allCases.count + place] = milliseconds
        control.values += attempt
        return control
    }

    /// The memory that the ring sums in place.
    package mutating func withValues<Result>(_ body: (UnsafeMutableBufferPointer<Double>) throws -> Result) rethrows -> Result {
        try values.withUnsafeMutableBufferPointer { try body($0) }
    }

    // MARK: After the sum

    /// The weights of all micro-batches, in order of their numbers: the same additions on every rank.
    package var weight: Double {
        (0..<microBatches).reduce(0) { $0 + values[$1 * StepControl.placesPerMicroBatch] }
    }

    package var lossSum: Double {
        (0..<microBatches).reduce(0) { $0 + values[$1 * StepControl.placesPerMicroBatch + 1] }
    }

    /// Parameters that need a coarser grid.
    package var misfits: [Int] {
        (0..<parameters).filter { values[microBatches * StepControl.placesPerMicroBatch + $0] > 0 }
    }

    private var firstRequest: Int { microBatches * StepControl.placesPerMicroBatch + parameters }

    /// Whether any rank asks for this.
    package func isRequested(_ request: Request) -> Bool {
        let place = firstRequest + request.rawValue
        return place < values.count && values[place] > 0
    }

    /// By place.
    package var millisecondsPerMicroBatch: [Double] { Array(values.dropFirst(firstRequest + Request.allCases.count)) }

    /// Where a number stopped being one.
    package struct Fault: Equatable {
        package var microBatch: Int
        package var rank: Int
        /// nil where only the loss is not finite.
        package var parameter: Int?

        package init(microBatch: Int, rank: Int, parameter: Int?) {
            self.microBatch = microBatch
            self.rank = rank
            self.parameter = parameter
        }
    }

    /// The first micro-batch whose loss or gradient is not finite.
    package var fault: Fault? {
        for id in 0..<microBatches {
            let place = id * StepControl.placesPerMicroBatch
            let rank = Int(values[place + 2]) - 1
            if values[place + 3] > 0 { return Fault(microBatch: id, rank: rank, parameter: Int(values[place + 3]) - 1) }
            if !values[place + 1].isFinite || !values[place].isFinite { return Fault(microBatch: id, rank: rank, parameter: nil) }
        }
        return nil
    }
}

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
