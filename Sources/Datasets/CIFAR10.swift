/// CIFAR-10 in its binary version: colour images of 32x32 in ten classes, 50,000 for training and 10,000 for testing.
///
/// A file is records of 3,073 bytes: the class, then the red, the green and the blue plane, each row by row. The files
/// `data_batch_1.bin` to `data_batch_5.bin` (as many of them as are there, from the first on, without a gap) are for training and
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

    /// The images of `data_batch_1.bin` to `data_batch_5.bin`, as far as they are there.
    public let training: LabelledImages
    /// The images of `test_batch.bin`.
    public let test: LabelledImages
    /// What the set lacks, a line each: it may be a part on purpose.
    public let notes: [String]

    /// Reads and checks all files.
    ///
    /// - Throws: a `DatasetError` for a file that is missing before others that are there, cut short, damaged, or has a class that is none.
    public init(directory: String) throws(DatasetError) {
        let folder = CIFAR10.folder(directory)
        let names = (1...CIFAR10.trainingFiles).map { "data_batch_\($0).bin" }
        let found = names.map { CIFAR10.existing($0, in: folder) }
        let paths = found.compactMap { $0 }
        guard let last = found.lastIndex(where: { $0 != nil }) else {
            throw .missingFile(directory: folder, names: [names[0], "\(names[0]).gz"])
        }
        if let gap = found[..<last].firstIndex(where: { $0 == nil }) {
            throw .incompleteSet(directory: folder, missing: names[gap], present: names[last])
        }
        guard let testPath = CIFAR10.existing("test_batch.bin", in: folder) else {
            throw .missingFile(directory: folder, names: ["test_batch.bin", "test_batch.bin.gz"])
        }
        let counts: [Int]
        (training, counts) = try CIFAR10.read(paths)
        test = try CIFAR10.read([testPath]).images
        notes = CIFAR10.notes(folder, missing: Array(names[(last + 1)...]), paths: paths, counts: counts)
    }

    /// The directory in which files of the set are.
    private static func folder(_ directory: String) -> String {
        let nested = "\(directory)/cifar-10-batches-bin"
        let names = (1...trainingFiles).map { "data_batch_\($0).bin" } + ["test_batch.bin"]
        let isHere = names.contains { existing($0, in: directory) != nil }
        return !isHere && InputFile.exists(nested) ? nested : directory
    }

    private static func notes(_ folder: String, missing: [String], paths: [String], counts: [Int]) -> [String] {
        var notes: [String] = []
        if let first = missing.first, let last = missing.last {
            let which = missing.count == 1 ? first : "\(first) to \(last)"
            notes.append("\(folder) has no \(which): training is on the \(counts.reduce(0, +)) images of the files before")
        }
        if let most = counts.max(), let short = counts.firstIndex(where: { $0 != most }) {
            notes.append("\(paths[short]) has \(counts[short]) images, and others of its set have \(most): is it whole?")
        }
        return notes
    }

    private static func existing(_ name: String, in directory: String) -> String? {
        let paths = [name, "\(name).gz"].map { "\(directory)/\($0)" }
        return paths.first(where: InputFile.isFile) ?? paths.first(where: InputFile.exists)
    }

    /// - Returns: all images, and how many of them each file has.
    private static func read(_ paths: [String]) throws(DatasetError) -> (images: LabelledImages, counts: [Int]) {
        var counts: [Int] = []
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
            counts.append(count)
        }
        let images = LabelledImages(
            pixels: pixels, labels: labels, channels: 3, height: side, width: side, classes: classes, scale: 255)
        return (images, counts)
    }
}
