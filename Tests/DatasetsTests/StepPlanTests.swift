import Datasets
import Testing

struct StepPlanTests {
    @Test func aPlanThatDividesNothing() throws {
        let plan = try StepPlan(count: 10, globalBatch: 4, microBatch: 3)
        #expect(plan.stepsPerEpoch == 3)
        #expect(plan.steps(epochs: 0) == 0)
        #expect(plan.steps(epochs: 4) == 12)
        #expect(plan.steps(epochs: Int.max) == Int.max)

        let steps = (0..<4).map(plan.step)
        #expect(steps.map(\.epoch) == [0, 0, 0, 1])
        #expect(steps.map(\.stepInEpoch) == [0, 1, 2, 0])
        #expect(steps.map(\.positions) == [0..<4, 4..<8, 8..<10, 0..<4])
        #expect(steps.map(\.microBatchCount) == [2, 2, 1, 2])
        #expect((0..<2).map(steps[1].positions(ofMicroBatch:)) == [4..<7, 7..<8])
        #expect(steps[2].positions(ofMicroBatch: 0) == 8..<10)
    }

    @Test(arguments: [1, 2, 3, 7, 8, 9, 63, 64, 65], [1, 2, 3, 8, 64, 1000])
    func eachPositionOnceAnEpoch(count: Int, globalBatch: Int) throws {
        for microBatch in [1, 2, 3, 8, 64] where microBatch <= globalBatch {
            let plan = try StepPlan(count: count, globalBatch: globalBatch, microBatch: microBatch)
            for epoch in 0..<2 {
                var positions: [Int] = []
                for number in 0..<plan.stepsPerEpoch {
                    let step = plan.step(epoch * plan.stepsPerEpoch + number)
                    #expect(step.epoch == epoch && step.stepInEpoch == number)
                    for id in 0..<step.microBatchCount {
                        let part = step.positions(ofMicroBatch: id)
                        #expect(!part.isEmpty && part.count <= microBatch)
                        #expect(part.count == microBatch || id == step.microBatchCount - 1)
                        positions += part
                    }
                }
                #expect(positions == Array(0..<count))
            }
        }
    }

    @Test func eightOnThreeIsThreeThreeTwo() throws {
        let step = try StepPlan(count: 100, globalBatch: 64, microBatch: 8).step(0)
        #expect((0..<3).map { step.microBatches(rank: $0, worldSize: 3) } == [0..<3, 3..<6, 6..<8])
    }

    @Test(arguments: [0, 1, 2, 3, 7, 8, 9], [1, 2, 3, 4, 8, 9])
    func sharesAreContiguousAndEven(microBatches: Int, worldSize: Int) {
        let shares = (0..<worldSize).map {
            StepPlan.share(ofMicroBatches: microBatches, rank: $0, worldSize: worldSize)
        }
        #expect(shares.flatMap(Array.init) == Array(0..<microBatches))
        #expect(shares.map(\.count) == shares.map(\.count).sorted(by: >))
        #expect(shares[0].count - shares[worldSize - 1].count <= 1)
    }

    @Test func farSteps() throws {
        let plan = try StepPlan(count: SampleOrder.maximumCount, globalBatch: 1, microBatch: 1)
        #expect(plan.stepsPerEpoch == SampleOrder.maximumCount)
        #expect(plan.step(Int.max).epoch == 1)
        let whole = try StepPlan(count: 5, globalBatch: Int.max, microBatch: Int.max)
        #expect(whole.stepsPerEpoch == 1)
        #expect(whole.step(3).positions == 0..<5)
        #expect(whole.step(3).positions(ofMicroBatch: 0) == 0..<5)
    }

    @Test(arguments: [(0, 1, 1), (10, 0, 0), (10, 4, 0), (10, 4, -1), (10, 4, 5), (-1, 4, 4)])
    func impossibleSizes(count: Int, globalBatch: Int, microBatch: Int) {
        let error = DatasetError.batchSizes(samples: count, globalBatch: globalBatch, microBatch: microBatch)
        #expect(throws: error) { try StepPlan(count: count, globalBatch: globalBatch, microBatch: microBatch) }
        #expect(!error.description.contains("\n"))
    }
}
