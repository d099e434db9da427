import Tensors

/// Linear layers with ReLU between them: (B, inputs) to (B, outputs).
public struct MLP: Layer {
    /// The linear layers, first to last.
    public let layers: [Linear]

    /// `hidden` has the units of each hidden layer, none for a linear model.
    public init(inputs: Int, hidden: [Int], outputs: Int) {
        let sizes = [inputs] + hidden + [outputs]
        layers = zip(sizes, sizes.dropFirst()).map { Linear($0, $1) }
    }

    /// (B, inputs) to (B, outputs).
    public func callAsFunction(_ input: Tensor) -> Tensor {
        var x = input
        for layer in layers.dropLast() { x = layer(x, activation: .relu) }
        return layers[layers.count - 1](x)
    }
}
