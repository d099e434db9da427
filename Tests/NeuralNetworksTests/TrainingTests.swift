import NeuralNetworks
import Optimizers
import Tensors
import Testing

/// A few optimizer steps by hand, as the trainer does them.
@Suite struct TrainingTests {
    @Test func anMLPLearnsXor() {
        let model = MLP(inputs: 2, hidden: [16], outputs: 2)
        let arena = ParameterArena(model, seed: 3)
        let tape = Tape(parameters: arena)
        let optimizer = SGD(momentum: 0.9)
        var velocity = [Float](repeating: 0, count: arena.count)
        var mean = 0.0
        for step in 0..<200 {
            tape.begin(Pass(seed: 3, step: step, isTraining: true))
            let x = tape.input([0, 0, 0, 1, 1, 0, 1, 1], [4, 2])
            let loss = softmaxCrossEntropy(model(x), tape.indices([0, 1, 1, 0], [4]))
            tape.backward(from: loss)
            mean = loss.mean
            velocity.withUnsafeMutableBufferPointer { velocity in
                let part = ArenaPart(
                    range: 0..<arena.count, values: arena.values.baseAddress!, gradients: arena.gradients.baseAddress!,
                    state: [velocity.baseAddress!], decayRuns: arena.decayRuns)
                optimizer.update(
                    part, with: OptimizerStep(number: step + 1, learningRate: 0.1, gradientScale: Float(1 / loss.weight)))
            }
        }
        #expect(mean < 0.01)
    }
}
