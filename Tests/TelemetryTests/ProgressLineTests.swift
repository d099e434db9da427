import Telemetry
import Testing

struct ProgressLineTests {
    private var metrics = StepMetrics(
        step: 120, loss: 0.31239, learningRate: 0.0098, gradientNorm: 1, itemsPerSecond: 14_200, stepMilliseconds: 25,
        computeMilliseconds: 20, exposedReduceMilliseconds: 1, optimizerMilliseconds: 1, bytesSent: 0, worldSize: 4)
    private let progress = ProgressLine(totalSteps: 600, items: "samples")

    @Test func aStep() {
        #expect(
            progress.line(metrics) == "step 120/600  loss 0.3124  lr 9.8e-3  14.2 k samples/s  4 workers  eta 12 s")
        #expect(progress.line(metrics, meanStepMilliseconds: 250).hasSuffix("  eta 2 min 0 s"))
    }

    @Test func anEvaluationAndTheEnd() {
        var metrics = metrics
        metrics.step = 600
        metrics.worldSize = 1
        metrics.validationLoss = 0.25
        metrics.validationAccuracy = 0.98
        #expect(
            progress.line(metrics)
                == "step 600/600  loss 0.3124  lr 9.8e-3  14.2 k samples/s  1 worker  validation loss 0.2500  accuracy 0.9800")
    }

    @Test func aLossThatDiverged() {
        var metrics = metrics
        metrics.loss = .nan
        #expect(progress.line(metrics).contains("  loss nan  "))
    }
}
