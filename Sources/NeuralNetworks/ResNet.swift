import Tensors

/// A residual network for small images, 28 x 28 or 32 x 32: (N, H, W, C) to (N, classes).
///
/// A convolution, three stages of residual blocks of which the second and third begin with a stride of 2 and twice the channels,
/// the mean over positions, and a linear layer: 6 n + 2 layers with weights for n blocks a stage. Shortcuts across a change of
/// shape are convolutions of 1 x 1. Batch normalisation takes the statistics of a micro-batch: give it 16 images or more.
///
/// Source: K. He et al., "Deep residual learning for image recognition", arXiv:1512.03385, section 4.2.
public struct ResNet: Layer {
    /// The sizes of a ``ResNet``.
    public struct Configuration: Sendable, Hashable {
        /// Channels of an image, C.
        public var channels: Int
        /// Classes to tell apart.
        public var classes: Int
        /// Residual blocks a stage: 3 for the paper's ResNet-20.
        public var blocks: Int
        /// Channels of the first stage.
        public var width: Int

        /// By default one block a stage, and 16 channels in the first one.
        public init(channels: Int, classes: Int, blocks: Int = 1, width: Int = 16) {
            self.channels = channels
            self.classes = classes
            self.blocks = blocks
            self.width = width
        }
    }

    /// The sizes that it was made with.
    public let configuration: Configuration
    /// C to `width` channels, 3 x 3.
    public let stem: Conv2d
    /// After the first convolution.
    public let stemNorm: BatchNorm
    /// The blocks of all three stages, first to last.
    public let blocks: [Block]
    /// The mean over positions to logits.
    public let output: Linear

    /// A network of these sizes, whose weights are drawn when its parameters are laid out.
    public init(_ configuration: Configuration) {
        self.configuration = configuration
        stem = Self.convolution(configuration.channels, configuration.width)
        stemNorm = BatchNorm(configuration.width)
        var blocks: [Block] = []
        var channels = configuration.width
        for stage in 0..<3 {
            for index in 0..<configuration.blocks {
                let outputs = configuration.width << stage
                blocks.append(Block(channels, outputs, stride: stage > 0 && index == 0 ? 2 : 1))
                channels = outputs
            }
        }
        self.blocks = blocks
        output = Linear(channels, configuration.classes)
    }

    /// Logits (N, classes) of images (N, H, W, C).
    public func callAsFunction(_ images: Tensor) -> Tensor {
        var x = stemNorm(stem(images), activation: .relu)
        for block in blocks { x = block(x) }
        return output(x.averagedOverPositions())
    }

    /// Of 3 x 3 without bias, which the normalisation after it has; He's initialisation, over the outputs.
    static func convolution(_ inputs: Int, _ outputs: Int, stride: Int = 1, kernel: Int = 3) -> Conv2d {
        let deviation = (2 / Float(outputs * kernel * kernel)).squareRoot()
        return Conv2d(
            inputs, outputs, kernel: kernel, stride: stride, padding: kernel / 2, bias: false, weight: .normal(deviation: deviation))
    }

    /// relu(shortcut(x) + norm(conv(relu(norm(conv(x))))))
    public struct Block: Layer {
        /// 3 x 3, with the block's stride.
        public let first: Conv2d
        /// After the first convolution.
        public let firstNorm: BatchNorm
        /// 3 x 3.
        public let second: Conv2d
        /// After the second convolution.
        public let secondNorm: BatchNorm
        /// Nil where the block changes nothing about the shape.
        public let shortcut: Conv2d?
        /// After the shortcut; nil where there is none.
        public let shortcutNorm: BatchNorm?

        init(_ inputs: Int, _ outputs: Int, stride: Int) {
            first = ResNet.convolution(inputs, outputs, stride: stride)
            firstNorm = BatchNorm(outputs)
            second = ResNet.convolution(outputs, outputs)
            secondNorm = BatchNorm(outputs)
            let isShaped = inputs != outputs || stride != 1
            shortcut = isShaped ? ResNet.convolution(inputs, outputs, stride: stride, kernel: 1) : nil
            shortcutNorm = isShaped ? BatchNorm(outputs) : nil
        }

        /// (N, H, W, inputs) to (N, H', W', outputs).
        public func callAsFunction(_ input: Tensor) -> Tensor {
            let x = secondNorm(second(firstNorm(first(input), activation: .relu)))
            guard let shortcut, let shortcutNorm else { return (x + input).relu() }
            return (x + shortcutNorm(shortcut(input))).relu()
        }
    }
}
