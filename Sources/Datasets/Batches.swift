/// Images and their classes.
///
/// Dimensions: N images, C channels, H rows, W columns.
public struct ImageBatch: Sendable, Equatable {
    /// (N, C*H*W) row-major: an image's channels stand one after the other, each row by row.
    public let pixels: [Float]
    /// (N) the class of each image, from 0.
    public let labels: [Int32]
    /// N.
    public let count: Int
    /// C.
    public let channels: Int
    /// H.
    public let height: Int
    /// W.
    public let width: Int

    /// A batch of `labels.count` images; `pixels` holds exactly `channels * height * width` numbers for each.
    public init(pixels: [Float], labels: [Int32], channels: Int, height: Int, width: Int) {
        precondition(
            pixels.count == labels.count * channels * height * width,
            "\(pixels.count) pixels are not \(labels.count) images of \(channels)x\(height)x\(width)")
        self.pixels = pixels
        self.labels = labels
        self.count = labels.count
        self.channels = channels
        self.height = height
        self.width = width
    }
}

/// Windows of text: what the model reads, and what it should have said.
///
/// Dimensions: N windows, T tokens in each.
public struct TextBatch: Sendable, Equatable {
    /// (N, T) row-major: the model's input.
    public let tokens: [Int32]
    /// (N, T) row-major: at each place the token that follows it in the text.
    public let targets: [Int32]
    /// N.
    public let count: Int
    /// T.
    public let context: Int

    /// A batch of `count` windows; both arrays hold exactly `count * context` tokens.
    public init(tokens: [Int32], targets: [Int32], count: Int, context: Int) {
        precondition(
            tokens.count == count * context && targets.count == count * context,
            "\(tokens.count) tokens and \(targets.count) targets are not \(count) windows of \(context)")
        self.tokens = tokens
        self.targets = targets
        self.count = count
        self.context = context
    }
}
