import Datasets
import Glibc
import Testing

struct MNISTTests {
    private let directory = TemporaryDirectory()

    /// Two rows and three columns; pixel values count up, labels count 0 to 9.
    private static func images(_ count: Int, announcing announced: [UInt32]? = nil) -> [UInt8] {
        header(0x803, announced ?? [UInt32(count), 2, 3]) + (0..<count * 6).map { UInt8($0 % 256) }
    }

    private static func labels(_ count: Int) -> [UInt8] {
        header(0x801, [UInt32(count)]) + (0..<count).map { UInt8($0 % 10) }
    }

    private static func header(_ magic: UInt32, _ dimensions: [UInt32]) -> [UInt8] {
        ([magic] + dimensions).flatMap { word in (0..<4).map { UInt8(truncatingIfNeeded: word >> (24 - 8 * $0)) } }
    }

    private func writeAll(_ suffix: String = "", separator: String = "-", pack: ([UInt8]) -> [UInt8] = { $0 }) {
        directory.write("train-images\(separator)idx3-ubyte\(suffix)", pack(Self.images(12)))
        directory.write("train-labels\(separator)idx1-ubyte\(suffix)", pack(Self.labels(12)))
        directory.write("t10k-images\(separator)idx3-ubyte\(suffix)", pack(Self.images(5)))
        directory.write("t10k-labels\(separator)idx1-ubyte\(suffix)", pack(Self.labels(5)))
    }

    private func check(_ mnist: MNIST) {
        #expect(mnist.training.count == 12)
        #expect(mnist.test.count == 5)
        #expect([mnist.training.channels, mnist.training.height, mnist.training.width] == [1, 2, 3])
        let batch = mnist.training.batch(epoch: 0, [11, 0])
        #expect(batch.labels == [1, 0])
        #expect(batch.pixels == (66..<72).map { Float($0) / 255 } + (0..<6).map { Float($0) / 255 })
    }

    @Test(arguments: ["-", "."]) func plainFiles(separator: String) throws {
        writeAll(separator: separator)
        check(try MNIST(directory: directory.path))
    }

    /// Some archives unpack each file into a directory of its name, beside the files under their other names.
    @Test func directoriesBesideTheFiles() throws {
        writeAll(separator: ".")
        let names = ["train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"].map { "\($0)-ubyte" }
        for name in names { mkdir("\(directory.path)/\(name)", 0o700) }
        check(try MNIST(directory: directory.path))
        for name in names {
            let dotted = name.replacing("-idx", with: ".idx")
            try #require(rename("\(directory.path)/\(dotted)", "\(directory.path)/\(name)/\(name)") == 0)
        }
        check(try MNIST(directory: directory.path))
        for name in names {
            unlink("\(directory.path)/\(name)/\(name)")
            #expect(fault() == .notAFile(path: "\(directory.path)/\(name)"))
            break
        }
        for name in names {
            unlink("\(directory.path)/\(name)/\(name)")
            rmdir("\(directory.path)/\(name)")
        }
    }

    @Test func gzipFiles() throws {
        writeAll(".gz", pack: gzip)
        check(try MNIST(directory: directory.path))
    }

    @Test func gzipUnderAPlainName() throws {
        writeAll(pack: gzip)
        check(try MNIST(directory: directory.path))
    }

    @Test func gzipInSeveralMembers() throws {
        writeAll(".gz") { bytes in gzip(Array(bytes[..<9])) + gzip([]) + gzip(Array(bytes[9...])) }
        check(try MNIST(directory: directory.path))
    }

    private func fault() -> DatasetError? {
        do {
            _ = try MNIST(directory: directory.path)
            return nil
        } catch {
            #expect(!error.description.contains("\n"))
            return error
        }
    }

    private var imagesPath: String { "\(directory.path)/train-images-idx3-ubyte" }
    private var labelsPath: String { "\(directory.path)/train-labels-idx1-ubyte" }

    @Test func aMissingFile() {
        let names = [
            "train-images-idx3-ubyte", "train-images-idx3-ubyte.gz", "train-images.idx3-ubyte",
            "train-images.idx3-ubyte.gz",
        ]
        #expect(fault() == .missingFile(directory: directory.path, names: names))
        writeAll()
        unlink("\(directory.path)/t10k-labels-idx1-ubyte")
        guard case .missingFile(_, let names) = fault() else { Issue.record("no fault"); return }
        #expect(names.contains("t10k-labels-idx1-ubyte.gz"))
    }

    @Test func aDirectoryThatIsNotThere() {
        #expect(throws: DatasetError.self) { try MNIST(directory: "/nonexistent") }
    }

    @Test(arguments: [0, 1, 3, 4, 7, 15, 16, 17, 87]) func truncated(count: Int) {
        writeAll()
        directory.write("train-images-idx3-ubyte", Array(Self.images(12)[..<count]))
        guard case .truncated(imagesPath, let expected, count) = fault() else { Issue.record("\(String(describing: fault()))"); return }
        #expect(expected == (count < 16 ? 16 : 88))
    }

    @Test(arguments: [1, 17, 87]) func truncatedInsideGzip(count: Int) {
        writeAll()
        directory.write("train-images-idx3-ubyte", gzip(Array(Self.images(12)[..<count])))
        guard case .truncated(imagesPath, _, count) = fault() else { Issue.record("\(String(describing: fault()))"); return }
    }

    @Test func everyTruncationOfAGzipFile() {
        writeAll()
        let whole = gzip(Self.images(12))
        for count in 0..<whole.count {
            directory.write("train-images-idx3-ubyte", Array(whole[..<count]))
            #expect(fault() != nil, "\(count) of \(whole.count) bytes")
        }
    }

    @Test func everyFlippedBitOfAGzipFile() throws {
        writeAll()
        let undamaged = try MNIST(directory: directory.path).training
        let whole = gzip(Self.images(12))
        var harmless = 0
        // The header's flags, time and system (bytes 3 to 9) are not covered by the checksum.
        for bit in 10 * 8..<whole.count * 8 {
            var bytes = whole
            bytes[bit / 8] ^= 1 << (bit % 8)
            directory.write("train-images-idx3-ubyte", bytes)
            if fault() == nil {
                harmless += 1
                #expect(try MNIST(directory: directory.path).training == undamaged, "bit \(bit)")
            }
        }
        // Only the bits that fill the last byte of the compressed data make no difference.
        #expect(harmless < 8)
    }

    @Test func trailingBytes() {
        writeAll()
        directory.write("train-images-idx3-ubyte", Self.images(12) + [0])
        #expect(fault() == .trailingBytes(path: imagesPath, expected: 88))
        directory.write("train-images-idx3-ubyte", gzip(Self.images(12) + [0]))
        #expect(fault() == .trailingBytes(path: imagesPath, expected: 88))
        directory.write("train-images-idx3-ubyte", gzip(Self.images(12)) + [0])
        #expect(fault() == .damagedGzip(path: imagesPath, reason: "bytes follow the compressed data"))
    }

    @Test func wrongMagic() {
        writeAll()
        directory.write("train-images-idx3-ubyte", Self.labels(12))
        #expect(fault() == .wrongMagic(path: imagesPath, expected: 0x803, found: 0x801))
        directory.write("train-images-idx3-ubyte", Array("this is no such file".utf8))
        #expect(fault()?.description.contains("0x74686973, not 0x00000803") == true)
    }

    @Test(arguments: [[0, 2, 3], [12, 0, 3], [12, 2, 0], [12, 4097, 3], [12, 2, UInt32.max]] as [[UInt32]])
    func unreasonableDimensions(dimensions: [UInt32]) {
        writeAll()
        directory.write("train-images-idx3-ubyte", Self.images(12, announcing: dimensions))
        #expect(fault() == .unreasonableDimensions(path: imagesPath, dimensions: dimensions.map(Int.init)))
    }

    @Test func promisesThatNoFileOfThisSizeCanKeep() {
        writeAll()
        // 2^56 bytes: an attempt to allocate them would end the process.
        let promise: [UInt32] = [.max, 4096, 4096]
        directory.write("train-images-idx3-ubyte", Self.images(12, announcing: promise))
        guard case .truncated(imagesPath, _, 88) = fault() else { Issue.record("\(String(describing: fault()))"); return }
        directory.write("train-images-idx3-ubyte", gzip(Self.images(12, announcing: promise)))
        #expect(fault() == .unreasonableDimensions(path: imagesPath, dimensions: promise.map(Int.init)))
    }

    @Test func inconsistentCounts() {
        writeAll()
        directory.write("train-labels-idx1-ubyte", Self.labels(11))
        #expect(
            fault() == .inconsistentCounts(images: 12, imagesPath: imagesPath, labels: 11, labelsPath: labelsPath))
    }

    @Test func imagesOfDifferentSizes() {
        writeAll()
        directory.write("t10k-images-idx3-ubyte", Self.images(5, announcing: [5, 3, 2]))
        guard case .inconsistentImages(imagesPath, 2, 3, _, 3, 2) = fault() else { Issue.record("\(String(describing: fault()))"); return }
    }

    @Test func aLabelOutOfRange() {
        writeAll()
        var labels = Self.labels(12)
        labels[8 + 7] = 10
        directory.write("train-labels-idx1-ubyte", labels)
        #expect(fault() == .labelOutOfRange(path: labelsPath, index: 7, label: 10, classes: 10))
    }

    @Test func aDirectoryOrAPipeInPlaceOfAFile() {
        writeAll()
        unlink(imagesPath)
        mkdir(imagesPath, 0o700)
        #expect(fault() == .notAFile(path: imagesPath))
        rmdir(imagesPath)
        mkfifo(imagesPath, 0o600)
        #expect(fault() == .notAFile(path: imagesPath))
    }
}
