import NeuralNetworks
import Optimizers
import Tensors
import Testing

/// Twenty steps from the same weights on the same batches as PyTorch took in scripts/golden.
@Suite struct ParityTests {
    /// Numbers in [-scale, scale) + offset; the same formula is in scripts/golden.
    private func pattern(_ count: Int, _ name: String, _ scale: Double, _ offset: Double = 0) -> [Float] {
        let key = name.utf8.reduce(0) { $0 + Int($1) }
        return (0..<count).map { index in
            let x = Double((index * 7919 + key * 104_729) % 10_007) / 10_007 - 0.5
            return Float(2 * scale * x + offset)
        }
    }

    private func setWeights(of arena: ParameterArena) {
        for parameter in arena.parameters where !parameter.isStatistic {
            let norm = parameter.name.contains("orm.weight")
            let values = pattern(parameter.count, parameter.name, norm ? 0.1 : 0.35, norm ? 1 : 0)
            parameter.values.update(from: values, count: parameter.count)
        }
    }

    /// Runs the steps; returns the mean loss of each, and the gradient norm before clipping.
    private func train(
        _ arena: ParameterArena, _ optimizer: some Optimizer, learningRate: Double, clip: Double?,
        precision: Precision = .float32, _ loss: (Tape, Int) -> Loss
    ) -> (losses: [Double], norms: [Double]) {
        setWeights(of: arena)
        let tape = Tape(parameters: arena, precision: precision)
        let state = optimizer.stateNames.map { _ in UnsafeMutablePointer<Float>.allocate(capacity: arena.count) }
        for block in state { block.initialize(repeating: 0, count: arena.count) }
        defer { for block in state { block.deallocate() } }
        var (losses, norms): ([Double], [Double]) = ([], [])
        for step in 0..<20 {
            tape.begin(Pass(seed: 1, step: step, isTraining: true))
            let loss = loss(tape, step)
            losses.append(loss.mean)
            tape.backward(from: loss)
            var scale = 1 / loss.weight
            let sums = GradientNorm.blockSums(UnsafeBufferPointer(arena.gradients))
            norms.append(GradientNorm.norm(blockSums: sums, scale: scale))
            if let clip { scale *= GradientNorm.clipFactor(norm: norms[step], limit: clip) }
            let part = ArenaPart(
                range: arena.trainedRange, values: arena.values.baseAddress!, gradients: arena.gradients.baseAddress!,
                state: state, decayRuns: arena.decayRuns)
            optimizer.update(
                part, with: OptimizerStep(number: step + 1, learningRate: learningRate, gradientScale: Float(scale)))
            arena.updateStatistics(scale: Float(1 / loss.weight))
        }
        return (losses, norms)
    }

    private func expect(_ got: [Double], _ expected: [Double], within relative: Double) {
        #expect(got.count == expected.count)
        for (step, (a, b)) in zip(got, expected).enumerated() {
            #expect(abs(a - b) <= relative * abs(b), "step \(step): \(a), PyTorch \(b)")
        }
    }

    @Test func mlp() {
        let model = MLP(inputs: 20, hidden: [33, 16], outputs: 5)
        let (losses, _) = train(ParameterArena(model, seed: 0), SGD(momentum: 0.9), learningRate: 0.1, clip: nil) {
            tape, step in
            let x = tape.input(pattern(7 * 20, "batch \(step % 2)", 1), [7, 20])
            let labels = tape.indices((0..<7).map { Int32(($0 * 3 + step % 2) % 5) }, [7])
            return softmaxCrossEntropy(model(x), labels)
        }
        expect(losses, Golden.mlpLosses, within: 1e-4)
    }

    private func gpt(_ bias: Bool, _ tied: Bool, _ gelu: GELU.Kind, precision: Precision = .float32) -> (losses: [Double], norms: [Double]) {
        let model = GPT(
            GPT.Configuration(
                vocabulary: 19, context: 10, layers: 2, heads: 3, embedding: 24, bias: bias, tiedHead: tied, gelu: gelu))
        return train(
            ParameterArena(model, seed: 0), AdamW(beta1: 0.9, beta2: 0.99, weightDecay: 0.1), learningRate: 5e-3,
            clip: 1, precision: precision
        ) { tape, step in
            let stream = (0..<33).map { Int32((($0 * $0 + 5 * $0 + 3 * (step % 2)) % 23) % 19) }
            let inputs = (0..<3).flatMap { stream[$0 * 11..<$0 * 11 + 10] }
            let targets = (0..<3).flatMap { stream[$0 * 11 + 1..<$0 * 11 + 11] }
            return softmaxCrossEntropy(model(tape.indices(inputs, [3, 10])), tape.indices(targets, [30]))
        }
    }

    /// PyTorch rounds results to bfloat16 too, which is why it is near and not the same.
    @Test func bfloat16GPT() {
        let (losses, _) = gpt(false, true, .exact, precision: .bfloat16)
        expect(losses, Golden.plainGPTAutocastLosses, within: 2e-2)
        #expect(losses != gpt(false, true, .exact).losses)
    }

    /// nanoGPT's recipe: no biases, tied head, exact GELU.
    @Test func plainGPT() {
        let (losses, norms) = gpt(false, true, .exact)
        expect(losses, Golden.plainGPTLosses, within: 1e-4)
        expect(norms, Golden.plainGPTNorms, within: 1e-3)
    }

    /// GPT-2's: biases, GELU by tanh; here with a head of its own.
    @Test func fullGPT() {
        let (losses, norms) = gpt(true, false, .tanh)
        expect(losses, Golden.fullGPTLosses, within: 1e-4)
        expect(norms, Golden.fullGPTNorms, within: 1e-3)
    }

    private func images(_ tape: Tape, _ step: Int, _ count: Int, _ channels: Int, _ height: Int, _ width: Int) -> Tensor {
        let pixels = pattern(count * channels * height * width, "images \(step % 2)", 1)
        return tape.input(pixels, [count, channels * height * width])
            .channelsLast(channels: channels, height: height, width: width)
    }

    @Test func cnn() {
        let model = CNN(
            CNN.Configuration(
                channels: 2, height: 8, width: 12, classes: 5, firstChannels: 5, secondChannels: 7, hidden: 16))
        let (losses, _) = train(ParameterArena(model, seed: 0), SGD(momentum: 0.9), learningRate: 0.05, clip: nil) {
            tape, step in
            let labels = tape.indices((0..<6).map { Int32(($0 * 3 + step % 2) % 5) }, [6])
            return softmaxCrossEntropy(model(images(tape, step, 6, 2, 8, 12)), labels)
        }
        expect(losses, Golden.cnnLosses, within: 1e-4)
    }

    /// The model of the comparison with PyTorch's speed has PyTorch's number of parameters.
    @Test func theUsualCNNHasTheUsualSize() {
        let model = CNN(CNN.Configuration(channels: 1, height: 28, width: 28, classes: 10))
        #expect(ParameterArena(model, seed: 0).elementCount == 421_642)
    }

    /// With one micro-batch a step, running statistics are PyTorch's too.
    @Test func resNet() throws {
        let model = ResNet(ResNet.Configuration(channels: 3, classes: 4, blocks: 1, width: 4))
        let arena = ParameterArena(model, seed: 0)
        func loss(_ tape: Tape, _ step: Int) -> Loss {
            let labels = tape.indices((0..<5).map { Int32(($0 * 3 + step % 2) % 4) }, [5])
            return softmaxCrossEntropy(model(images(tape, step, 5, 3, 9, 9)), labels)
        }
        let (losses, _) = train(arena, SGD(momentum: 0.9), learningRate: 0.01, clip: nil, loss)
        expect(losses, Golden.resNetLosses, within: 1e-3)
        let statistics = try ["stemNorm.runningMean", "stemNorm.runningVariance"].flatMap { name in
            let parameter = try #require(arena[name])
            return (0..<4).map { Double(parameter.values[$0]) }
        }
        for (got, expected) in zip(statistics, Golden.resNetStatistics) { #expect(abs(got - expected) < 1e-4) }
        let tape = Tape(parameters: arena)
        tape.begin(.inference)
        expect([loss(tape, 0).mean], [Golden.resNetEvaluation], within: 1e-2)
    }
}
