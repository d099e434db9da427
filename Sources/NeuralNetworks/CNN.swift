import Tensors

/// A small convolutional network for images: (N, H, W, C) to (N, classes).
///
/// Two convolutions of 3 x 3, each followed by relu and the largest of 2 x 2, then a hidden layer: for MNIST's 28 x 28 with the
/// widths that are the defaults, 421,642 parameters.
public struct CNN: Layer {
    /// The sizes of a ``CNN``.
    public struct Configuration: Sendable, Hashable {
        /// Channels of an image, C.
        public var channels: Int
        /// Rows of an image, H; at least 4.
        public var height: Int
        /// Columns of an image, W; at least 4.
        public var width: Int
        /// Classes to tell apart.
        public var classes: Int
        /// Channels after the first convolution.
        public var firstChannels: Int
        /// Channels after the second convolution.
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

    /// The sizes that it was made with.
    public let configuration: Configuration
    /// C to `firstChannels` channels, 3 x 3.
    public let first: Conv2d
    /// `firstChannels` to `secondChannels` channels, 3 x 3.
    public let second: Conv2d
    /// All positions and channels after two poolings to `hidden` units.
    public let hidden: Linear
    /// `hidden` units to logits.
    public let output: Linear

    /// A network of these sizes, whose weights are drawn when its parameters are laid out.
    public init(_ configuration: Configuration) {
        self.configuration = configuration
        first = Conv2d(configuration.channels, configuration.firstChannels, kernel: 3, padding: 1)
        second = Conv2d(configuration.firstChannels, configuration.secondChannels, kernel: 3, padding: 1)
        let positions = (configuration.height / 4) * (configuration.width / 4)
        hidden = Linear(positions * configuration.secondChannels, configuration.hidden)
        output = Linear(configuration.hidden, configuration.classes)
    }

    /// Logits (N, classes) of images (N, H, W, C).
    public func callAsFunction(_ images: Tensor) -> Tensor {
        // Relu after the pooling gives the same numbers and gradients as before it, for a quarter of the elements.
        let x = second(first(images).maxPooled(2).relu()).maxPooled(2).relu()
        return output(hidden(Flatten()(x), activation: .relu).dropout(configuration.dropout))
    }
}
