/// What the ranks tell each other about a step besides gradients, as one vector that the ring sums.
///
/// Every micro-batch has places of its own, into which only the rank that computed it writes; all others add zero. So each
/// number arrives as it was written, whatever the number of ranks, NaN and infinity included:
///
///     4 * m ..< 4 * m + 4    of micro-batch m: weight, loss sum, rank + 1, 1 + the first parameter whose gradient is not finite
///     4 * M + p              of parameter p: on how many micro-batches its gradient did not fit the grid
///     4 * M + P + 0, 1       how many ranks ask to form the ring anew, to stop
///     4 * M + P + 2 + i      of the member at place i: its milliseconds a micro-batch; 0 if it had none
package struct StepControl {
    package private(set) var values: [Double]
    package let microBatches: Int
    package let parameters: Int

    private static let placesPerMicroBatch = 4

    /// What a rank may ask all others for.
    package enum Request: Int, CaseIterable {
        case reform
        case stop
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
