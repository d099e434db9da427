import Tensors

/// Multi-head self-attention in which a position sees itself and those before it: (B, T, C) to (B, T, C).
public struct CausalSelfAttention: Layer {
    /// Attention heads; they divide C.
    public let heads: Int
    /// The rate of dropout on the probabilities and on the result.
    public let dropout: Float
    /// C to 3 C: queries, keys and values, one after the other.
    public let qkv: Linear
    /// C to C, after the heads.
    public let projection: Linear

    /// `dropout` is applied to the probabilities and to the result. Weights are normal with the given deviations,
    /// biases zero.
    public init(
        embedding: Int, heads: Int, bias: Bool = true, dropout: Float = 0, deviation: Float = 0.02,
        projectionDeviation: Float = 0.02
    ) {
        precondition(embedding % heads == 0, "an embedding of \(embedding) does not split into \(heads) heads")
        self.heads = heads
        self.dropout = dropout
        qkv = Linear(embedding, 3 * embedding, bias: bias, weight: .normal(deviation: deviation), bias: .zeros)
        projection = Linear(
            embedding, embedding, bias: bias, weight: .normal(deviation: projectionDeviation), bias: .zeros)
    }

    /// (B, T, C) to (B, T, C).
    public func callAsFunction(_ input: Tensor) -> Tensor {
        projection(qkv(input).causalAttention(heads: heads, dropout: dropout)).dropout(dropout)
    }
}
