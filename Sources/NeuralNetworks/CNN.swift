import Tensors

/// A small convolutional network for images: (N, H, W, C) to (N, classes).
///
/// Two convolutions of 3 x 3, each followed by relu and the largest of 2 x 2, then a hidden layer: for MNIST's 28 x 28 with the
/// widths that are the defaults, 421,642 parameters.
public struct CNN: Layer {
    public struct Configuration: Sendable, Hashable {
        public var channels: Int
        public var height: Int
        public var width: Int
        public var classes: Int
        /// Channels after the first and after the second convolution.
        public var firstChannels: Int
        public var secondChannels: Int
        /// Units of the hidden layer.
        public var hidden: Int
        /// Of the hidden layer.
        public var dropout: Float

        /// Height and width must be at least 4.
        public init(
            channels: Int, height: Int, width: Int, classes: Int, firstChannels: Int = 32, secondChannels: Int = 64,
            hidden: Int = 128, dropout: Float = 0
        ) {
            precondition(height >= 4 && width >= 4, "images of \(height) x \(width) are too small for two poolings")
            self.channels = channels
            self.height = height
            self.width = width
            self.classes = classes
            self.firstChannels = firstChannels
            self.secondChannels = secondChannels
            self.hidden = hidden
            self.dropout = dropout
        }
    }

    public let configuration: Configuration
    public let first: Conv2d
    public let second: Conv2d
    public let hidden: Linear
    public let output: Linear

    public init(_ configuration: Configuration) {
        self.configuration = configuration
        first = Conv2d(configuration.channels, configuration.firstChannels, kernel: 3, padding: 1)
        second = Conv2d(configuration.firstChannels, configuration.secondChannels, kernel: 3, padding: 1)
        let positions = (configuration.height / 4) * (configuration.width / 4)
        hidden = Linear(positions * configuration.secondChannels, configuration.hidden)
        output = Linear(configuration.hidden, configuration.classes)
    }

    public func callAsFunction(_ images: Tensor) -> Tensor {
        // Relu after the pooling gives the same numbers and gradients as before it, for a quarter of the elements.
        let x = second(first(images).maxPooled(2).relu()).maxPooled(2).relu()
        return output(hidden(Flatten()(x), activation: .relu).dropout(configuration.dropout))
    }
}
