/// The characters that a text model knows, numbered in the order of their code points: character and token correspond.
///
/// A character is a Unicode scalar, so that every text has one reading as tokens, and every token sequence is a text.
public struct CharacterVocabulary: Sendable, Hashable {
    /// Tokens are kept as 16-bit numbers.
    public static let maximumCount = 1 << 16

    private let scalars: [Unicode.Scalar]

    /// Takes scalars that are sorted and distinct.
    init(sorted scalars: [Unicode.Scalar]) {
        self.scalars = scalars
    }

    /// The vocabulary that a checkpoint's recipe holds.
    ///
    /// - Throws: `DatasetError.invalidVocabulary` unless each entry is one scalar and they are sorted and distinct.
    public init(characters: [String]) throws(DatasetError) {
        guard characters.count <= CharacterVocabulary.maximumCount else {
            throw .invalidVocabulary(reason: "\(characters.count) characters are more than \(1 << 16)")
        }
        var scalars: [Unicode.Scalar] = []
        for (index, character) in characters.enumerated() {
            guard let scalar = character.unicodeScalars.first, character.unicodeScalars.count == 1 else {
                throw .invalidVocabulary(reason: "entry \(index) is not one character")
            }
            if let last = scalars.last, last >= scalar {
                throw .invalidVocabulary(reason: "entry \(index) is not greater than the one before it")
            }
            scalars.append(scalar)
        }
        self.scalars = scalars
    }

    /// The characters in the order of their tokens: what to store in a recipe.
    public var characters: [String] { scalars.map { String(Character($0)) } }

    /// The number of characters; tokens are `0 ..< count`.
    public var count: Int { scalars.count }

    /// The text's tokens, one for each Unicode scalar.
    ///
    /// - Throws: `DatasetError.unknownCharacter` for the first scalar that is not in the vocabulary.
    public func encode(_ text: String) throws(DatasetError) -> [Int32] {
        var tokens: [Int32] = []
        for (index, scalar) in text.unicodeScalars.enumerated() {
            guard let token = token(of: scalar) else { throw .unknownCharacter(scalar, index: index) }
            tokens.append(token)
        }
        return tokens
    }

    /// The text of the tokens, each of which has to be in `0 ..< count`.
    public func decode(_ tokens: [Int32]) -> String {
        var text = String.UnicodeScalarView()
        for token in tokens {
            precondition(token >= 0 && token < count, "token \(token) of \(count)")
            text.append(scalars[Int(token)])
        }
        return String(text)
    }

    func token(of scalar: Unicode.Scalar) -> Int32? {
        var candidates = 0..<scalars.count
        while !candidates.isEmpty {
            let middle = candidates.lowerBound + candidates.count / 2
            if scalars[middle] == scalar { return Int32(middle) }
            candidates = scalars[middle] < scalar
                ? (middle + 1)..<candidates.upperBound : candidates.lowerBound..<middle
        }
        return nil
    }
}
