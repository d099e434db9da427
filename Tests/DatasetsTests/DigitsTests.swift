import Datasets
import Testing

struct DigitsTests {
    let digits = Digits()

    @Test func theSplitIsFixed() {
        #expect(digits.training.count == 1437)
        #expect(digits.test.count == 360)
        for part in [digits.training, digits.test] {
            #expect([part.channels, part.height, part.width, part.classes, part.itemsPerSample] == [1, 8, 8, 10, 1])
        }
        // CRC-32 of the pixels and then the labels: `scripts/golden-digits.py` computes the same.
        #expect(digits.training.checksum == 0x6608_C70A)
        #expect(digits.test.checksum == 0x6C02_6AE8)
    }

    @Test func pixelsAreSixteenths() {
        // The first line of the file is the first test image; the second is the first training image.
        let batch = digits.test.batch(epoch: 0, [0])
        #expect(batch.pixels[0..<8] == [0, 0, 0.3125, 0.8125, 0.5625, 0.0625, 0, 0])
        #expect(batch.labels == [0])
        #expect(digits.training.batch(epoch: 0, [0]).labels == [1])
        let all = digits.training.batch(epoch: 0, Array(0..<1437))
        #expect(all.pixels.min() == 0 && all.pixels.max() == 1)
        #expect(all.pixels.allSatisfy { ($0 * 16).rounded() == $0 * 16 })
        #expect(Set(all.labels) == Set(0..<10))
    }

    @Test func aBatchIsItsSamplesInOrder() {
        let batch = digits.training.batch(epoch: 3, [5, 2, 5])
        #expect(batch.count == 3)
        for (row, sample) in [5, 2, 5].enumerated() {
            let single = digits.training.batch(epoch: 0, [sample])
            #expect(Array(batch.pixels[row * 64..<(row + 1) * 64]) == single.pixels)
            #expect(batch.labels[row] == single.labels[0])
        }
        #expect(digits.training.batch(epoch: 0, []).count == 0)
    }

    @Test func theSourceIsNamed() {
        #expect(Digits.source.contains("Alpaydin") && Digits.source.contains("CC BY 4.0"))
    }
}
