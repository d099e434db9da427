import Tensors

/// Layers one after the other. An activation that follows a `Linear` runs in the same pass over memory.
public struct Sequential: Layer {
    public let layers: [any Layer]

    public init(_ layers: any Layer...) { self.layers = layers }
    public init(_ layers: [any Layer]) { self.layers = layers }

    public func callAsFunction(_ input: Tensor) -> Tensor {
        var x = input
        var index = 0
        while index < layers.count {
            let next = index + 1 < layers.count ? layers[index + 1] as? any ActivationLayer : nil
            if let linear = layers[index] as? Linear, let next {
                x = linear(x, activation: next.activation)
                index += 2
            } else {
                x = layers[index](x)
                index += 1
            }
        }
        return x
    }
}
