import Tensors

/// The decoder-only transformer of GPT-2: tokens (B, T) to logits (B, T, vocabulary).
///
/// Blocks with layer normalisation first; normal initial weights of deviation 0.02, 0.02 / sqrt(2 layers) for
/// projections into the residual stream; biases zero. The names of its parameters are stable: checkpoints rely on
/// them.
///
/// Sources: A. Radford et al., "Language models are unsupervised multitask learners", 2019; A. Karpathy's nanoGPT.
public struct GPT: Module {
    /// The sizes of a ``GPT``, and what else tells one from another.
    public struct Configuration: Sendable, Hashable {
        /// Tokens that there are, V.
        public var vocabulary: Int
        /// The most tokens that the model sees at once.
        public var context: Int
        /// Blocks, L.
        public var layers: Int
        /// Attention heads; they divide the width.
        public var heads: Int
        /// Width of the model, C.
        public var embedding: Int
        /// The rate of dropout after the embedding, in attention and at the end of both parts of a block.
        public var dropout: Float
        /// Whether linear layers and layer normalisations have biases.
        public var bias: Bool
        /// Whether the head's weight is the token embedding's.
        public var tiedHead: Bool
        /// The activation inside the feed-forward layers.
        public var gelu: GELU.Kind
        /// What layer normalisations add to the variance.
        public var normEpsilon: Float = 1e-5
        /// Width inside the feed-forward layers; nil for four times the embedding.
        public var feedForward: Int?

        /// The defaults are nanoGPT's for characters on a CPU.
        public init(
            vocabulary: Int, context: Int = 64, layers: Int = 4, heads: Int = 4, embedding: Int = 128,
            dropout: Float = 0, bias: Bool = false, tiedHead: Bool = true, gelu: GELU.Kind = .exact
        ) {
            self.vocabulary = vocabulary
            self.context = context
            self.layers = layers
            self.heads = heads
            self.embedding = embedding
            self.dropout = dropout
            self.bias = bias
            self.tiedHead = tiedHead
            self.gelu = gelu
        }
    }

    /// What it was made with.
    public let configuration: Configuration
    /// (V, C) a row for each token; the head's weight, too, if that is tied.
    public let tokenEmbedding: Embedding
    /// (context, C) a row for each position.
    public let positionEmbedding: Embedding
    /// The blocks, first to last.
    public let blocks: [Block]
    /// The normalization before the head.
    public let finalNorm: LayerNorm
    /// Nil when the head is tied.
    public let head: Linear?

    /// Whether a training pass keeps what goes into a block and not what comes up inside, which the backward pass computes again: the
    /// same bits for a fraction of the memory and about a third more time.
    public let recomputesBlocks: Bool

    /// A model whose weights are drawn when its parameters are laid out.
    public init(_ configuration: Configuration, recomputesBlocks: Bool = false) {
        self.configuration = configuration
        self.recomputesBlocks = recomputesBlocks
        let usual = Initialization.normal(deviation: 0.02)
        tokenEmbedding = Embedding(configuration.vocabulary, configuration.embedding, weight: usual)
        positionEmbedding = Embedding(configuration.context, configuration.embedding, weight: usual)
        blocks = (0..<configuration.layers).map { _ in Block(configuration) }
        finalNorm = LayerNorm(configuration.embedding, bias: configuration.bias, epsilon: configuration.normEpsilon)
        head =
            configuration.tiedHead
            ? nil : Linear(configuration.embedding, configuration.vocabulary, bias: false, weight: usual)
    }

    /// Logits for tokens (B, T), T at most the context.
    public func callAsFunction(_ tokens: Indices) -> Tensor {
        var x = tokens.embedded(in: tokenEmbedding.weight, positions: positionEmbedding.weight)
        x = x.dropout(configuration.dropout)
        for block in blocks { x = recomputesBlocks ? x.recomputing { block($0) } : block(x) }
        return finalNorm(x).linear(head?.weight ?? tokenEmbedding.weight)
    }

    /// x + attention(norm(x)), then x + mlp(norm(x)).
    public struct Block: Layer {
        /// Before the attention.
        public let attentionNorm: LayerNorm
        /// Each position sees itself and those before it.
        public let attention: CausalSelfAttention
        /// Before the feed-forward layers.
        public let mlpNorm: LayerNorm
        /// Each position by itself.
        public let mlp: FeedForward

        init(_ configuration: Configuration) {
            let projectionDeviation = 0.02 / Float(2 * configuration.layers).squareRoot()
            attentionNorm = LayerNorm(configuration.embedding, bias: configuration.bias, epsilon: configuration.normEpsilon)
            attention = CausalSelfAttention(
                embedding: configuration.embedding, heads: configuration.heads, bias: configuration.bias,
                dropout: configuration.dropout, projectionDeviation: projectionDeviation)
            mlpNorm = LayerNorm(configuration.embedding, bias: configuration.bias, epsilon: configuration.normEpsilon)
            mlp = FeedForward(configuration, projectionDeviation: projectionDeviation)
        }

        /// (B, T, C) to (B, T, C).
        public func callAsFunction(_ input: Tensor) -> Tensor {
            let x = input + attention(attentionNorm(input))
            return x + mlp(mlpNorm(x))
        }
    }

    /// Linear to four times the width or what the configuration says, GELU, and back.
    public struct FeedForward: Layer {
        /// C to the width inside.
        public let up: Linear
        /// The width inside to C.
        public let down: Linear
        let activation: Activation
        let dropout: Float

        init(_ configuration: Configuration, projectionDeviation: Float) {
            let (columns, bias) = (configuration.embedding, configuration.bias)
            let inner = configuration.feedForward ?? 4 * columns
            up = Linear(columns, inner, bias: bias, weight: .normal(deviation: 0.02), bias: .zeros)
            down = Linear(inner, columns, bias: bias, weight: .normal(deviation: projectionDeviation), bias: .zeros)
            activation = configuration.gelu.activation
            dropout = configuration.dropout
        }

        /// (B, T, C) to (B, T, C).
        public func callAsFunction(_ input: Tensor) -> Tensor { down(up(input, activation: activation)).dropout(dropout) }
    }
}
