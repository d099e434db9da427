import Tensors

/// A table of rows looked up by index.
public struct Embedding: Module {
    /// (rows, columns) the table.
    public let weight: Parameter

    /// First values as PyTorch draws them, normal with deviation 1, unless others are given.
    public init(_ vocabulary: Int, _ columns: Int, weight initialization: Initialization = .normal(deviation: 1)) {
        weight = Parameter([vocabulary, columns], initialization)
    }

    /// Indices (...) to rows (..., columns).
    public func callAsFunction(_ indices: Indices) -> Tensor { indices.embedded(in: weight) }
}
