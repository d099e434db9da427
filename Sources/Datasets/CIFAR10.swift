/// CIFAR-10 in its binary version: colour images of 32x32 in ten classes, 50,000 for training and 10,000 for testing.
///
/// A file is records of 3,073 bytes: the class, then the red, the green and the blue plane, each row by row. The files
/// `data_batch_1.bin` to `data_batch_5.bin` (as many of them as are there, from the first on) are for training and
/// `test_batch.bin` for testing, each with `.gz` or without, in the directory given or in its `cifar-10-batches-bin`.
/// Pixels are divided by 255 and not normalised further.
///
/// Source: A. Krizhevsky, "Learning multiple layers of features from tiny images", 2009, and the format's page.
public struct CIFAR10: Sendable {
    private static let classes = 10
    private static let side = 32
    private static let pixelBytes = 3 * side * side
    private static let recordBytes = 1 + pixelBytes
    private static let trainingFiles = 5

    public let training: LabelledImages
    public let test: LabelledImages

    /// Reads and checks all files.
    ///
    /// - Throws: a `DatasetError` for a file that is missing, cut short, damaged, or has a class that is none.
    public init(directory: String) throws(DatasetError) {
        let nested = "\(directory)/cifar-10-batches-bin"
        let folder = InputFile.exists(nested) ? nested : directory
        var paths: [String] = []
        for number in 1...CIFAR10.trainingFiles {
            guard let path = CIFAR10.existing("data_batch_\(number).bin", in: folder) else { break }
            paths.append(path)
        }
        if paths.isEmpty { throw .missingFile(directory: folder, names: ["data_batch_1.bin", "data_batch_1.bin.gz"]) }
        guard let testPath = CIFAR10.existing("test_batch.bin", in: folder) else {
            throw .missingFile(directory: folder, names: ["test_batch.bin", "test_batch.bin.gz"])
        }
        training = try CIFAR10.read(paths)
        test = try CIFAR10.read([testPath])
    }

    private static func existing(_ name: String, in directory: String) -> String? {
        [name, "\(name).gz"].map { "\(directory)/\($0)" }.first { InputFile.exists($0) }
    }

    private static func read(_ paths: [String]) throws(DatasetError) -> LabelledImages {
        var pixels: [UInt8] = []
        var labels: [UInt8] = []
        for path in paths {
            let stream = try ByteStream(path: path)
            var count = 0
            while true {
                let record = try stream.read(recordBytes)
                if record.isEmpty, count > 0 { break }
                guard record.count == recordBytes else {
                    throw .brokenRecords(path: path, recordBytes: recordBytes, found: count * recordBytes + record.count)
                }
                guard record[0] < classes else {
                    throw .labelOutOfRange(path: path, index: count, label: Int(record[0]), classes: classes)
                }
                labels.append(record[0])
                pixels.append(contentsOf: record[1...])
                count += 1
            }
        }
        return LabelledImages(
            pixels: pixels, labels: labels, channels: 3, height: side, width: side, classes: classes, scale: 255)
    }
}
