import Datasets
import Testing

struct CIFAR10Tests {
    private let directory = TemporaryDirectory()

    /// Images whose planes are filled with 10 times the image's number, plus 0, 1 and 2.
    private static func records(_ count: Int, first: Int = 0, label: (Int) -> Int = { $0 % 10 }) -> [UInt8] {
        (first..<first + count).flatMap { image in
            [UInt8(label(image))] + (0..<3).flatMap { [UInt8](repeating: UInt8(10 * image + $0), count: 1024) }
        }
    }

    private func fault() -> DatasetError? {
        do {
            _ = try CIFAR10(directory: directory.path)
            return nil
        } catch {
            return error
        }
    }

    @Test func filesInOrder() throws {
        directory.write("data_batch_1.bin", Self.records(3))
        directory.write("data_batch_2.bin.gz", gzip(Self.records(2, first: 3)))
        directory.write("test_batch.bin", Self.records(1, first: 7))
        let cifar = try CIFAR10(directory: directory.path)
        #expect(cifar.training.count == 5 && cifar.test.count == 1)
        #expect([cifar.training.channels, cifar.training.height, cifar.training.width, cifar.training.classes] == [3, 32, 32, 10])
        let batch = cifar.training.batch(epoch: 0, [4, 1])
        #expect(batch.labels == [4, 1])
        #expect([0, 1024, 2048, 3071, 3072].map { batch.pixels[$0] * 255 } == [40, 41, 42, 42, 10])
    }

    @Test(arguments: [[2], [3], [2, 3, 4], [4], [1], [1, 2]]) func aGapInTheSetIsNamed(missing: [Int]) {
        for number in 1...5 where !missing.contains(number) {
            let isPacked = number % 2 == 0
            directory.write("data_batch_\(number).bin" + (isPacked ? ".gz" : ""), isPacked ? gzip(Self.records(1)) : Self.records(1))
        }
        directory.write("test_batch.bin", Self.records(1))
        let last = "data_batch_5.bin"
        #expect(fault() == .incompleteSet(directory: directory.path, missing: "data_batch_\(missing[0]).bin", present: last))
    }

    @Test func whatIsMissingAtTheEndIsNoted() throws {
        directory.write("test_batch.bin", Self.records(1))
        for number in 1...5 {
            directory.write("data_batch_\(number).bin", Self.records(2))
            let notes = try CIFAR10(directory: directory.path).notes
            #expect(notes.count == (number == 5 ? 0 : 1))
            if number < 5 { #expect(notes[0].contains("no data_batch_\(number + 1).bin") && notes[0].contains(" \(2 * number) images")) }
        }
        directory.write("data_batch_3.bin", Self.records(1))
        let notes = try CIFAR10(directory: directory.path).notes
        #expect(notes.count == 1 && notes[0].contains("data_batch_3.bin has 1 images"))
    }

    @Test func faultsAreNamed() {
        let (first, test) = ("\(directory.path)/data_batch_1.bin", "\(directory.path)/test_batch.bin")
        #expect(fault() == .missingFile(directory: directory.path, names: ["data_batch_1.bin", "data_batch_1.bin.gz"]))
        directory.write("data_batch_1.bin", Self.records(2))
        #expect(fault() == .missingFile(directory: directory.path, names: ["test_batch.bin", "test_batch.bin.gz"]))
        directory.write("test_batch.bin", [])
        #expect(fault() == .brokenRecords(path: test, recordBytes: 3073, found: 0))
        directory.write("test_batch.bin", Self.records(1) + [7])
        #expect(fault() == .brokenRecords(path: test, recordBytes: 3073, found: 3074))
        directory.write("test_batch.bin", Array(Self.records(1).dropLast()))
        #expect(fault() == .brokenRecords(path: test, recordBytes: 3073, found: 3072))
        directory.write("test_batch.bin", Self.records(1))
        directory.write("data_batch_1.bin", Self.records(2) { 9 + $0 })
        #expect(fault() == .labelOutOfRange(path: first, index: 1, label: 10, classes: 10))
        #expect(fault()?.description == "\(first): label 1 is 10, but the classes are 0 to 9")
    }
}
