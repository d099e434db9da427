import Optimizers
import Testing

@Suite struct ScheduleTests {
    @Test func constant() {
        let schedule = Schedule(learningRate: 0.1)
        for step in [0, 1, 1_000_000] { #expect(schedule.learningRate(atStep: step) == 0.1) }
    }

    @Test func warmUpIsLinear() {
        let schedule = Schedule(learningRate: 0.5, warmupSteps: 4)
        #expect((0..<6).map(schedule.learningRate) == [0.1, 0.2, 0.5 * 3 / 5, 0.4, 0.5, 0.5])
    }

    /// A quarter, a half and three quarters of the way down a cosine.
    @Test func cosineGoesToItsMinimum() {
        let schedule = Schedule(learningRate: 1, warmupSteps: 10, decay: .cosine(endStep: 110, minimum: 0.1))
        let root = 0.5.squareRoot()
        let expected: [(Int, Double)] = [
            (9, 10.0 / 11), (10, 1), (35, 0.1 + 0.45 * (1 + root)), (60, 0.55), (85, 0.1 + 0.45 * (1 - root)),
            (110, 0.1), (111, 0.1), (10_000, 0.1),
        ]
        for (step, rate) in expected {
            #expect(abs(schedule.learningRate(atStep: step) - rate) < 1e-15, "at step \(step)")
        }
        #expect(schedule.learningRate(atStep: 111) == 0.1)
    }

    @Test func aDecayThatEndsBeforeTheWarmUpStaysAtItsMinimum() {
        let schedule = Schedule(learningRate: 1, warmupSteps: 5, decay: .cosine(endStep: 5, minimum: 0.25))
        #expect(schedule.learningRate(atStep: 4) == 5.0 / 6)
        #expect(schedule.learningRate(atStep: 5) == 0.25)
    }
}
