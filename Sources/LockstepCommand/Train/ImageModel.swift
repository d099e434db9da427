import ArgumentParser
import Lockstep

/// The network of an image task, built for one data set.
struct ImageModel {
    let network: any Layer
    /// How a checkpoint's recipe keeps it.
    let recipe: JSONValue
    private let takesRows: Bool

    /// Logits (N, classes).
    func logits(_ batch: ImageBatch, _ tape: Tape) -> Tensor {
        let pixels = tape.input(batch.pixels, [batch.count, batch.channels * batch.height * batch.width])
        let network = network
        if takesRows { return network(pixels) }
        return network(pixels.channelsLast(channels: batch.channels, height: batch.height, width: batch.width))
    }

    /// Linear layers with ReLU, and dropout after each but the last.
    static func mlp(_ images: LabelledImages, hidden: [Int], dropout: Float) throws -> ImageModel {
        let inputs = images.channels * images.height * images.width
        let sizes = ([inputs] + hidden + [images.classes]).map(Double.init)
        try requireMemory(forParameters: zip(sizes, sizes.dropFirst()).reduce(0) { $0 + ($1.0 + 1) * $1.1 })
        return ImageModel(
            network: Classifier(inputs: inputs, hidden: hidden, outputs: images.classes, dropout: dropout),
            recipe: [
                "kind": "mlp", "inputs": .integer(inputs), "hidden": .array(hidden.map { .integer($0) }),
                "outputs": .integer(images.classes), "dropout": .double(Double(dropout)),
            ],
            takesRows: true)
    }

    static func cnn(_ images: LabelledImages, dropout: Float) throws -> ImageModel {
        guard images.height >= 4, images.width >= 4 else {
            throw UsageError("the images are \(images.height)x\(images.width), and a cnn needs 4x4 or more: use --model mlp")
        }
        let configuration = CNN.Configuration(
            channels: images.channels, height: images.height, width: images.width, classes: images.classes, dropout: dropout)
        return ImageModel(
            network: CNN(configuration),
            recipe: [
                "kind": "cnn", "channels": .integer(configuration.channels), "height": .integer(configuration.height),
                "width": .integer(configuration.width), "classes": .integer(configuration.classes),
                "first_channels": .integer(configuration.firstChannels), "second_channels": .integer(configuration.secondChannels),
                "hidden": .integer(configuration.hidden), "dropout": .double(Double(dropout)),
            ],
            takesRows: false)
    }

    static func resnet(_ images: LabelledImages, blocks: Int) -> ImageModel {
        let configuration = ResNet.Configuration(channels: images.channels, classes: images.classes, blocks: blocks)
        return ImageModel(
            network: ResNet(configuration),
            recipe: [
                "kind": "resnet", "channels": .integer(configuration.channels), "classes": .integer(configuration.classes),
                "blocks": .integer(blocks), "width": .integer(configuration.width),
            ],
            takesRows: false)
    }

    private struct Classifier: Layer {
        let layers: [Linear]
        let dropout: Float

        init(inputs: Int, hidden: [Int], outputs: Int, dropout: Float) {
            layers = MLP(inputs: inputs, hidden: hidden, outputs: outputs).layers
            self.dropout = dropout
        }

        func callAsFunction(_ images: Tensor) -> Tensor {
            var x = images
            for layer in layers.dropLast() { x = layer(x, activation: .relu).dropout(dropout) }
            return layers[layers.count - 1](x)
        }
    }
}

/// The flags that choose an image task's network.
struct ImageModelOptions: ParsableArguments {
    enum Kind: String, ExpressibleByArgument, CaseIterable {
        case mlp
        case cnn
        case resnet
    }

    struct Sizes: ExpressibleByArgument {
        let sizes: [Int]

        init?(argument: String) {
            let parts = argument.split(separator: ",", omittingEmptySubsequences: false).map { Int($0) }
            let sizes = parts.compactMap { $0 }
            guard !sizes.isEmpty, sizes.count == parts.count, sizes.allSatisfy({ $0 >= 1 && $0 <= 1 << 20 }) else { return nil }
            self.sizes = sizes
        }
    }

    @Option(
        help: """
            mlp: layers of --hidden units with ReLU. cnn: two convolutions and a hidden layer. resnet: residual blocks with batch \
            normalisation, whose statistics are those of a micro-batch.
            """)
    var model: Kind?

    @Option(parsing: .unconditional, help: "Units of the mlp's hidden layers, as 512,512.")
    var hidden: Sizes?

    @Option(parsing: .unconditional, help: "The resnet's residual blocks in each of its three stages: 6 a block and 2 more layers.")
    var blocks: Int?

    func validate() throws {
        if let blocks, !(1...100).contains(blocks) { throw ValidationError("--blocks is \(blocks), which must be 1 to 100.") }
    }

    /// The network for these images.
    ///
    /// - Parameters:
    ///   - usual: the model where none is asked for.
    ///   - hidden: the mlp's hidden layers where none are given.
    ///   - dropout: the mlp's dropout where none is given; a cnn has none by itself.
    func network(
        _ images: LabelledImages, usual: Kind, hidden usualHidden: [Int], dropout usualDropout: Float, options: TrainingOptions
    ) throws -> ImageModel {
        switch model ?? usual {
        case .mlp: return try .mlp(images, hidden: hidden?.sizes ?? usualHidden, dropout: options.dropout ?? usualDropout)
        case .cnn: return try .cnn(images, dropout: options.dropout ?? 0)
        case .resnet: return .resnet(images, blocks: blocks ?? 1)
        }
    }

    /// Finds out before anything is started whether the flags go together; `usual` is the model where none is asked for.
    func check(usual: Kind, _ options: TrainingOptions) throws {
        let kind = model ?? usual
        if hidden != nil, kind != .mlp { throw ValidationError("--hidden is the mlp's; the model is \(kind.rawValue).") }
        if blocks != nil, kind != .resnet { throw ValidationError("--blocks is the resnet's; the model is \(kind.rawValue).") }
        if kind == .resnet, options.dropout ?? 0 > 0 { throw ValidationError("--dropout is of no use with resnet, which has none.") }
    }
}
