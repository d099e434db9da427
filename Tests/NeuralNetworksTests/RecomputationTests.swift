import NeuralNetworks
import Tensors
import Testing

/// Activations that the backward pass computes again: `Tensor.recomputing`.
@Suite struct RecomputationTests {
    /// One training pass of a GPT: loss, gradients, and the order in which they became final.
    private func pass(
        recomputes: Bool, layers: Int = 3, dropout: Float = 0.3
    ) -> (loss: Float, gradients: [UInt32], ready: [String], bytes: Int) {
        var configuration = GPT.Configuration(
            vocabulary: 11, context: 16, layers: layers, heads: 2, embedding: 32, dropout: dropout, bias: true)
        configuration.gelu = .tanh
        let model = GPT(configuration, recomputesBlocks: recomputes)
        let arena = ParameterArena(model, seed: 7)
        let tape = Tape(parameters: arena)
        let tokens = (0..<64).map { Int32($0 * 5 % 11) }
        var ready: [String] = []
        var loss: Float = 0
        // Twice: memory that has been used before must not show.
        for step in 0..<2 {
            ready = []
            tape.begin(Pass(seed: 3, step: step, microBatch: 2, isTraining: true))
            let result = softmaxCrossEntropy(model(tape.indices(tokens, [4, 16])), tape.indices(tokens.reversed(), [4, 16]))
            loss = result.sum.item
            tape.backward(from: result) { ready.append($0.name) }
        }
        return (loss, arena.gradients.map(\.bitPattern), ready, tape.reservedBytes)
    }

    @Test(arguments: [0, 0.3] as [Float])
    func theBitsAndTheOrderAreTheSame(dropout: Float) {
        let kept = pass(recomputes: false, dropout: dropout)
        let again = pass(recomputes: true, dropout: dropout)
        #expect(again.loss == kept.loss)
        #expect(again.gradients == kept.gradients)
        #expect(again.ready == kept.ready)
    }

    @Test func aDeepModelNeedsAThirdOfTheMemory() {
        let kept = pass(recomputes: false, layers: 24)
        let again = pass(recomputes: true, layers: 24)
        #expect(again.gradients == kept.gradients)
        #expect(again.bytes * 3 <= kept.bytes, "\(again.bytes) bytes, and \(kept.bytes) without")
    }

    /// Gradients of a function of a parameter, of an input from outside that the region refers to, and of its own input.
    private func gradients(_ run: (Tensor, @escaping (Tensor) -> Tensor) -> Tensor) -> [[Float]] {
        let shared = Parameter([4, 4], .uniform(bound: 1))
        let arena = ParameterArena([("shared", shared)], seed: 5)
        let tape = Tape(parameters: arena)
        tape.begin(Pass(seed: 1, isTraining: true))
        let x = tape.variable((0..<12).map { Float($0) / 7 - 1 }, [3, 4])
        let outside = tape.variable((0..<12).map { 1 - Float($0) / 9 }, [3, 4])
        let y = run(x) { ($0.linear(shared, activation: .geluExact) * outside).dropout(0.4).linear(shared) + $0 }
        tape.backward(from: (y * y).dropout(0.2).linear(shared).sum())
        return [tape.gradient(of: x), tape.gradient(of: outside), Array(arena.gradients)]
    }

    @Test func aRegionMayReferToAnything() {
        let expected = gradients { x, body in body(body(x)) }
        #expect(expected.allSatisfy { $0.contains { $0 != 0 } })
        #expect(gradients { x, body in x.recomputing(body).recomputing(body) } == expected)
        #expect(gradients { x, body in x.recomputing { body(body($0)) } } == expected, "two in one")
        #expect(gradients { x, body in x.recomputing { $0.recomputing(body).recomputing(body) } } == expected, "one in another")
        #expect(gradients { x, body in body(x.recomputing { $0 }).recomputing(body) } == expected, "nothing in one")
    }

    @Test func aRegionWithoutGradientsIsJustItsResult() {
        let tape = Tape()
        tape.begin(Pass(isTraining: true))
        #expect(tape.input([1, 2], [2]).recomputing { $0 * 3 }.array == [3, 6])
        tape.begin(.inference)
        #expect(tape.variable([1, 2], [2]).recomputing { $0 * 3 }.array == [3, 6])
    }

    @Test func batchNormalisationInsideCountsOnce() {
        func statistics(_ run: (ResNet.Block, Tensor) -> Tensor) -> [Float] {
            let block = ResNet(ResNet.Configuration(channels: 1, classes: 2, blocks: 1)).blocks[1]
            let arena = ParameterArena(block, seed: 2)
            let tape = Tape(parameters: arena)
            tape.begin(Pass(isTraining: true))
            let width = block.first.weight.shape[1]
            let x = tape.input((0..<(2 * 36 * width)).map { Float($0 * 37 % 101) / 50 - 1 }, [2, 6, 6, width])
            tape.backward(from: run(block, x).sum())
            return Array(arena.gradients)
        }
        #expect(statistics { $1.recomputing($0.callAsFunction) } == statistics { $0($1) })
    }
}
