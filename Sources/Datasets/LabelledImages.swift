/// Images with one class each, held in memory as bytes: 1 byte a pixel, whatever the precision of training.
///
/// A sample is one image. The same image is the same numbers in every epoch: there is no augmentation.
/// Pixels are divided by `scale` and nothing else: they are not normalised by a mean or a deviation.
public struct LabelledImages: Dataset, Equatable {
    public typealias Batch = ImageBatch

    /// The number of images.
    public let count: Int
    /// Channels of an image, C.
    public let channels: Int
    /// Rows of an image, H.
    public let height: Int
    /// Columns of an image, W.
    public let width: Int
    /// The number of classes; every label is less.
    public let classes: Int

    private let pixels: [UInt8]
    private let labels: [UInt8]
    /// What each byte becomes: its value divided by the scale, rounded once, exactly as a division would.
    private let values: [Float]

    /// - Parameters:
    ///   - pixels: (N, C*H*W) row-major.
    ///   - labels: (N), each less than `classes`.
    ///   - scale: the byte that becomes 1.
    public init(
        pixels: [UInt8], labels: [UInt8], channels: Int, height: Int, width: Int, classes: Int, scale: Float
    ) {
        precondition(
            pixels.count == labels.count * channels * height * width,
            "\(pixels.count) pixels are not \(labels.count) images of \(channels)x\(height)x\(width)")
        precondition(labels.allSatisfy { $0 < classes }, "a label is not less than \(classes)")
        self.count = labels.count
        self.channels = channels
        self.height = height
        self.width = width
        self.classes = classes
        self.pixels = pixels
        self.labels = labels
        self.values = (0...255).map { Float($0) / scale }
    }

    public var itemsPerSample: Int { 1 }

    /// The CRC-32 of the pixels followed by the labels. Workers, or a run and its checkpoint, whose checksums differ have
    /// not got the same data. It guards against mistakes, not against malice.
    public var checksum: UInt32 {
        Checksum.crc32(labels[...], continuing: Checksum.crc32(pixels[...]))
    }

    /// The given images. Samples have to be in `0 ..< count`; the epoch makes no difference.
    public func batch(epoch: Int, _ samples: [Int]) -> ImageBatch {
        let size = channels * height * width
        let floats = [Float](unsafeUninitializedCapacity: samples.count * size) { buffer, filled in
            // SAFETY: each sample initialises the next `size` elements, so all `samples.count * size` are in the end.
            for sample in samples {
                for pixel in pixels[sample * size..<(sample + 1) * size] {
                    buffer.initializeElement(at: filled, to: values[Int(pixel)])
                    filled += 1
                }
            }
        }
        return ImageBatch(
            pixels: floats, labels: samples.map { Int32(labels[$0]) }, channels: channels, height: height, width: width)
    }
}
