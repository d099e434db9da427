import Tensors

/// Layers one after the other. An activation that follows a layer which can take it in runs in the same pass over memory.
public struct Sequential: Layer {
    /// First to last.
    public let layers: [any Layer]

    /// Layers first to last.
    public init(_ layers: any Layer...) { self.layers = layers }
    /// Layers first to last.
    public init(_ layers: [any Layer]) { self.layers = layers }

    /// Each layer gets what the one before it returned.
    public func callAsFunction(_ input: Tensor) -> Tensor {
        var x = input
        var index = 0
        while index < layers.count {
            let next = index + 1 < layers.count ? layers[index + 1] as? any ActivationLayer : nil
            if let fusing = layers[index] as? any FusingLayer, let next {
                x = fusing(x, activation: next.activation)
                index += 2
            } else {
                x = layers[index](x)
                index += 1
            }
        }
        return x
    }
}
