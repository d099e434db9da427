import Testing
import Training

@Suite struct StepControlTests {
    /// What the ring does: adds up all ranks' places.
    private func sum(_ controls: [StepControl]) -> StepControl {
        var total = controls[0]
        total.withValues { values in
            for other in controls.dropFirst() {
                for index in values.indices { values[index] += other.values[index] }
            }
        }
        return total
    }

    @Test func everyRanksFiguresArrive() {
        var first = StepControl(microBatches: 3, parameters: 2)
        var second = first
        first.record(microBatch: 0, weight: 4, lossSum: 0.1, rank: 0)
        first.record(microBatch: 1, weight: 4, lossSum: 0.2, rank: 0)
        second.record(microBatch: 2, weight: 2, lossSum: 0.4, rank: 1)
        second.recordMisfit(parameter: 1)
        let total = sum([first, second])
        #expect(total.weight == 10)
        #expect(total.lossSum == 0.1 + 0.2 + 0.4)
        #expect(total.misfits == [1])
        #expect(total.fault == nil)
    }

    @Test func theFirstFaultIsTheOneNamed() {
        var first = StepControl(microBatches: 3, parameters: 2)
        var second = first
        first.record(microBatch: 0, weight: 1, lossSum: 1, rank: 0)
        first.record(microBatch: 1, weight: 1, lossSum: .nan, rank: 0)
        second.record(microBatch: 2, weight: 1, lossSum: 1, rank: 1)
        second.recordNotFinite(microBatch: 2, parameter: 1)
        second.recordNotFinite(microBatch: 2, parameter: 0)
        #expect(sum([first, second]).fault == .init(microBatch: 1, rank: 0, parameter: nil))
        first.record(microBatch: 1, weight: 1, lossSum: 2, rank: 0)
        #expect(sum([first, second]).fault == .init(microBatch: 2, rank: 1, parameter: 1))
    }
}
