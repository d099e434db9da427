import Glibc

/// What can be wrong with a data set: one line each, saying what, where, and what to do.
public enum DatasetError: Error, Sendable, Equatable {
    /// The batch sizes do not make a step.
    case batchSizes(samples: Int, globalBatch: Int, microBatch: Int)
    /// A system call on `path` failed with `errno`.
    case system(operation: String, path: String, errno: Int32)
    /// `path` is a directory, a pipe or a device.
    case notAFile(path: String)
    /// None of `names` is in `directory`.
    case missingFile(directory: String, names: [String])
    /// A file of a set is missing in `directory`, and a later one, `present`, is there.
    case incompleteSet(directory: String, missing: String, present: String)
    /// The gzip container is damaged.
    case damagedGzip(path: String, reason: String)
    /// The file's first four bytes are not those of the IDX type it should have.
    case wrongMagic(path: String, expected: UInt32, found: UInt32)
    /// The file ends before its contents do. `expected` and `found` are bytes, after decompression.
    case truncated(path: String, expected: Int, found: Int)
    /// The file goes on after its contents, whose size in bytes, after decompression, is `expected`.
    case trailingBytes(path: String, expected: Int)
    /// The dimensions in the header are zero, absurd, or more than the file can hold.
    case unreasonableDimensions(path: String, dimensions: [Int])
    /// The images and their labels differ in number.
    case inconsistentCounts(images: Int, imagesPath: String, labels: Int, labelsPath: String)
    /// The training and the test images differ in size.
    case inconsistentImages(path: String, height: Int, width: Int, otherPath: String, otherHeight: Int, otherWidth: Int)
    /// A label is not a class. `index` is the label's number in the file, from 0.
    case labelOutOfRange(path: String, index: Int, label: Int, classes: Int)
    /// The file is empty or does not consist of whole records of so many bytes. `found` is its size after decompression.
    case brokenRecords(path: String, recordBytes: Int, found: Int)
    /// The text stops being UTF-8 at `byteOffset`.
    case invalidUTF8(path: String, byteOffset: Int)
    /// The text does not fill one training and one validation window.
    case textTooShort(path: String, characters: Int, context: Int, needed: Int)
    /// The file is no file of 16-bit tokens.
    case notTokens(path: String, reason: String)
    /// The tokens do not fill a window.
    case tooFewTokens(path: String, tokens: Int, context: Int, needed: Int)
    /// A token is not in the vocabulary. `index` counts the file's tokens, from 0.
    case tokenOutOfRange(path: String, index: Int, token: Int, vocabulary: Int)
    /// The text has more different characters than a token can number.
    case tooManyCharacters(path: String, limit: Int)
    /// A context of no tokens, or of too many.
    case context(Int, limit: Int)
    /// A text to encode has a character that the vocabulary lacks. `index` counts Unicode scalars, from 0.
    case unknownCharacter(Unicode.Scalar, index: Int)
    /// A stored vocabulary is not one.
    case invalidVocabulary(reason: String)
}

extension DatasetError: CustomStringConvertible {
    public var description: String {
        switch self {
        case .batchSizes(let samples, let globalBatch, let microBatch):
            return batchSizesDescription(samples: samples, globalBatch: globalBatch, microBatch: microBatch)
        case .system(let operation, let path, let errno):
            return "cannot \(operation) \(path): \(String(cString: strerror(errno)))"
        case .notAFile(let path):
            return "\(path) is not a file; give the path of a regular file"
        case .missingFile(let directory, let names):
            return "\(directory) has none of \(names.joined(separator: ", ")); give the directory that holds them"
        case .incompleteSet(let directory, let missing, let present):
            return "\(directory) has \(present), but neither \(missing) nor \(missing).gz; fetch the whole set again"
        case .damagedGzip(let path, let reason):
            return "\(path) is damaged: \(reason); fetch it again"
        case .wrongMagic(let path, let expected, let found):
            return "\(path) is not the IDX file it should be: it starts with \(hex(found)), not \(hex(expected))"
        case .truncated(let path, let expected, let found):
            return "\(path) is cut short: \(found) of \(expected) bytes; fetch it again"
        case .trailingBytes(let path, let expected):
            return "\(path) goes on after the \(expected) bytes that its header announces; fetch it again"
        case .unreasonableDimensions(let path, let dimensions):
            let sizes = dimensions.map(String.init).joined(separator: "x")
            return "\(path) announces \(sizes) bytes, which it cannot hold; fetch it again"
        case .inconsistentCounts(let images, let imagesPath, let labels, let labelsPath):
            return "\(imagesPath) has \(images) images but \(labelsPath) has \(labels) labels; fetch both again"
        case .inconsistentImages(let path, let height, let width, let otherPath, let otherHeight, let otherWidth):
            return "\(path) has images of \(height)x\(width) but \(otherPath) of \(otherHeight)x\(otherWidth)"
        case .labelOutOfRange(let path, let index, let label, let classes):
            return "\(path): label \(index) is \(label), but the classes are 0 to \(classes - 1)"
        case .brokenRecords(let path, let recordBytes, let found):
            return "\(path) has \(found) bytes, which are not one or more records of \(recordBytes); fetch it again"
        case .invalidUTF8(let path, let byteOffset):
            return "\(path) is not UTF-8 text: the byte at offset \(byteOffset) is wrong; convert it to UTF-8"
        case .textTooShort(let path, let characters, let context, let needed):
            return "\(path) has \(characters) characters, but a context of \(context) needs \(needed); "
                + "give a longer text or a shorter context"
        case .notTokens(let path, let reason):
            return "\(path) is not a file of 16-bit tokens: \(reason)"
        case .tooFewTokens(let path, let tokens, let context, let needed):
            return "\(path) has \(tokens) tokens for this, but a context of \(context) needs \(needed); "
                + "give a longer file or a shorter context"
        case .tokenOutOfRange(let path, let index, let token, let vocabulary):
            return "\(path): token \(index) is \(token), but the vocabulary ends at \(vocabulary - 1); is it this model's file?"
        case .tooManyCharacters(let path, let limit):
            return "\(path) has more than \(limit) different characters; is it text?"
        case .context(let context, let limit):
            return "a context of \(context) tokens: give 1 to \(limit)"
        case .unknownCharacter(let scalar, let index):
            return "character \(index), \(scalar.debugDescription), does not occur in the text the model was trained on"
        case .invalidVocabulary(let reason):
            return "the vocabulary is not valid: \(reason)"
        }
    }

    private func batchSizesDescription(samples: Int, globalBatch: Int, microBatch: Int) -> String {
        if samples < 1 { return "the data set has no samples" }
        if microBatch < 1 { return "a micro-batch of \(microBatch) samples: give at least 1" }
        return "a global batch of \(globalBatch) samples is smaller than a micro-batch of \(microBatch); "
            + "raise the one or lower the other"
    }

    private func hex(_ word: UInt32) -> String {
        let digits = String(word, radix: 16)
        return "0x" + String(repeating: "0", count: 8 - digits.count) + digits
    }
}
