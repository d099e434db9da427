/// 1,797 handwritten digits of 8x8 pixels, built into the library: something real to train on with no download.
///
/// The file is the test part of the UCI data set, in the order of its source: 64 pixels from 0 to 16 and the class.
/// Pixels are divided by 16, so that they lie in 0...1.
///
/// Every fifth image, from the first on, is a test image: 360 of them; the other 1,437 are for training. The images come
/// in runs by writer, so this split puts the same thirteen writers on both sides: the accuracy says how well other
/// digits of the same hands are read, and a stranger's would be read a little worse.
public struct Digits: Sendable {
    /// Who made the data, where it comes from, and its licence. The full text is in LICENCE beside the data.
    public static let source =
        "E. Alpaydin and C. Kaynak, \"Optical Recognition of Handwritten Digits\", UCI Machine Learning Repository, "
        + "1998, https://doi.org/10.24432/C50P49, CC BY 4.0"

    private static let name = "the embedded digits.csv.gz"
    private static let pixelsPerImage = 64
    private static let largestPixel: UInt8 = 16
    private static let testEvery = 5

    /// 1,437 images.
    public let training: LabelledImages
    /// 360 images.
    public let test: LabelledImages

    /// Unpacks the data: a few milliseconds. It cannot fail, as the data is part of the build.
    public init() {
        do {
            let text = try ByteStream(name: Digits.name, bytes: PackageResources.digits_csv_gz).read(1 << 20)
            let rows = Digits.rows(text)
            training = Digits.part(rows.enumerated().filter { !$0.offset.isMultiple(of: Digits.testEvery) }.map(\.element))
            test = Digits.part(rows.enumerated().filter { $0.offset.isMultiple(of: Digits.testEvery) }.map(\.element))
        } catch {
            preconditionFailure("\(error)")
        }
    }

    /// The numbers of each line, which are separated by commas.
    private static func rows(_ text: [UInt8]) -> [[UInt8]] {
        var rows: [[UInt8]] = []
        var row: [UInt8] = []
        var number: UInt8 = 0
        for byte in text {
            switch byte {
            case UInt8(ascii: ","), UInt8(ascii: "\n"):
                row.append(number)
                number = 0
                if byte == UInt8(ascii: "\n") {
                    rows.append(row)
                    row.removeAll(keepingCapacity: true)
                }
            default:
                number = number * 10 + (byte - UInt8(ascii: "0"))
            }
        }
        return rows
    }

    private static func part(_ rows: [[UInt8]]) -> LabelledImages {
        precondition(rows.allSatisfy { $0.count == pixelsPerImage + 1 && $0.max()! <= largestPixel }, "\(name) is damaged")
        return LabelledImages(
            pixels: rows.flatMap { $0.prefix(pixelsPerImage) }, labels: rows.map { $0[pixelsPerImage] },
            channels: 1, height: 8, width: 8, classes: 10, scale: Float(largestPixel))
    }
}
