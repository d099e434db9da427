import NeuralNetworks
import Tensors
import Testing

/// How models are walked and composed.
@Suite struct ModuleTests {
    @Test func namesArePaths() {
        let model = GPT(GPT.Configuration(vocabulary: 5, context: 4, layers: 1, heads: 1, embedding: 2, bias: true))
        #expect(
            model.namedParameters().map(\.name) == [
                "tokenEmbedding.weight", "positionEmbedding.weight", "blocks.0.attentionNorm.weight",
                "blocks.0.attentionNorm.bias", "blocks.0.attention.qkv.weight", "blocks.0.attention.qkv.bias",
                "blocks.0.attention.projection.weight", "blocks.0.attention.projection.bias", "blocks.0.mlpNorm.weight",
                "blocks.0.mlpNorm.bias", "blocks.0.mlp.up.weight", "blocks.0.mlp.up.bias", "blocks.0.mlp.down.weight",
                "blocks.0.mlp.down.bias", "finalNorm.weight", "finalNorm.bias",
            ])
    }

    @Test func biasesAndHeadsAreOptional() {
        func names(_ tied: Bool) -> [String] {
            GPT(GPT.Configuration(vocabulary: 5, context: 4, layers: 1, heads: 1, embedding: 2, tiedHead: tied))
                .namedParameters().map(\.name)
        }
        #expect(names(true).allSatisfy { !$0.hasSuffix("bias") })
        #expect(names(false) == names(true) + ["head.weight"])
    }

    class Base: Module {
        let first = Linear(2, 3)
    }
    final class Derived: Base {
        let table: [String: Linear] = ["b": Linear(1, 1, bias: false), "a": Linear(1, 1, bias: false)]
        let shared: Parameter
        let again: Parameter
        let optional: Linear? = nil
        let number = 7
        override init() {
            shared = Parameter([4], .ones)
            again = shared
        }
    }

    @Test func classesDictionariesAndSharedParameters() {
        let model = Derived()
        #expect(
            model.namedParameters().map(\.name) == [
                "first.weight", "first.bias", "table.a.weight", "table.b.weight", "shared", "again",
            ])
        let arena = ParameterArena(model, seed: 1)
        #expect(arena.parameters.map(\.name) == [
            "shared", "table.b.weight", "table.a.weight", "first.bias", "first.weight",
        ])
    }

    /// A layer of a user's own: forward only.
    struct Doubling: Layer {
        let inner: Linear
        func callAsFunction(_ input: Tensor) -> Tensor { inner(input) * 2 }
    }

    @Test func sequentialRunsInOrder() {
        let (first, second) = (Linear(3, 4), Linear(4, 2))
        let model = Sequential(first, GELU(.tanh), Dropout(0), Doubling(inner: second), ReLU())
        let arena = ParameterArena(model, seed: 1)
        #expect(model.namedParameters().map(\.name) == [
            "layers.0.weight", "layers.0.bias", "layers.3.inner.weight", "layers.3.inner.bias",
        ])
        let tape = Tape(parameters: arena)
        let x = tape.input([1, -2, 3, 0.5, 0.25, -1], [2, 3])
        let expected = (second(first(x).applying(.geluTanh)) * 2).relu()
        #expect(model(x).array == expected.array)
        #expect(Residual(Sequential())(x).array == (x + x).array)
    }

    /// Without recording, the logits of a prefix are those of the whole: generation relies on it.
    @Test func aShorterContextGivesTheSameLogits() {
        let model = GPT(GPT.Configuration(vocabulary: 11, context: 8, layers: 2, heads: 2, embedding: 8, dropout: 0.5))
        let tape = Tape(parameters: ParameterArena(model, seed: 4))
        tape.begin(.inference)
        let tokens: [Int32] = [3, 1, 4, 1, 5, 9, 2, 6]
        let whole = model(tape.indices(tokens, [1, 8]))
        #expect(whole.shape == [1, 8, 11])
        for length in 1...8 {
            let part = model(tape.indices(Array(tokens.prefix(length)), [1, length])).array
            for (a, b) in zip(part, whole.array) { #expect(abs(a - b) < 1e-6) }
        }
    }

    @Test func firstValuesFollowTheRecipe() throws {
        let model = GPT(GPT.Configuration(vocabulary: 100, context: 64, layers: 8, heads: 2, embedding: 64, bias: true))
        let arena = ParameterArena(model, seed: 1)
        func deviation(_ name: String) throws -> Double {
            let p = try #require(arena[name])
            let squares = (0..<p.count).reduce(0.0) { $0 + Double(p.values[$1] * p.values[$1]) }
            return (squares / Double(p.count)).squareRoot()
        }
        #expect(try abs(deviation("blocks.0.attention.qkv.weight") - 0.02) < 0.001)
        #expect(try abs(deviation("blocks.7.mlp.down.weight") - 0.005) < 0.0003)
        #expect(try deviation("blocks.3.mlp.up.bias") == 0)
        #expect(try deviation("finalNorm.weight") == 1)

        let mlp = MLP(inputs: 100, hidden: [50], outputs: 10)
        let values = Array(ParameterArena(mlp, seed: 1).values)
        #expect(values.allSatisfy { abs($0) <= 1 / Float(50).squareRoot() })
        #expect(mlp.layers.map(\.weight.shape) == [[50, 100], [10, 50]])
    }

    /// Dropout draws the same numbers whatever ran before, and a GPT's gradients are the same bits every time.
    @Test func aPassOfGPTIsReproducible() {
        let model = GPT(GPT.Configuration(vocabulary: 13, context: 70, layers: 2, heads: 2, embedding: 16, dropout: 0.3))
        let arena = ParameterArena(model, seed: 4)
        func gradients(_ tape: Tape, _ samples: Int, _ positions: Int, microBatch: Int) -> [UInt32] {
            tape.begin(Pass(seed: 9, step: 3, microBatch: microBatch, isTraining: true))
            let tokens = (0..<samples * positions).map { Int32($0 * 5 % 13) }
            let labels = tokens.map { ($0 + 1) % 13 }
            let logits = model(tape.indices(tokens, [samples, positions]))
            tape.backward(from: softmaxCrossEntropy(logits, tape.indices(labels, [tokens.count])))
            return arena.gradients.map(\.bitPattern)
        }
        let tape = Tape(parameters: arena)
        let first = gradients(tape, 3, 70, microBatch: 1)
        _ = gradients(tape, 1, 5, microBatch: 1)
        #expect(gradients(tape, 3, 70, microBatch: 2) != first)
        #expect(gradients(tape, 3, 70, microBatch: 1) == first)
        #expect(gradients(Tape(parameters: arena), 3, 70, microBatch: 1) == first)
    }
}
