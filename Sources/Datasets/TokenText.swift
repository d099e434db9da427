/// Token files as a data set: one to train on, and perhaps another for validation beside it.
///
/// Without the latter, the first 90 % of the tokens (rounded down) are for training and the rest for validation.
public struct TokenText: Sendable {
    /// Windows with another phase in each epoch.
    public let training: TokenWindows
    /// Windows that are the same in each epoch.
    public let validation: TokenWindows
    /// `TokenFile.checksum` of the training file, and of the validation file if it is another.
    public let checksums: [UInt32]

    /// - Parameters:
    ///   - file: the path of the tokens.
    ///   - validation: the path of those for validation; nil for the last tenth of `file`.
    ///   - vocabulary: tokens must be less; 1 to `TokenFile.maximumVocabulary`.
    ///   - context: the number of tokens in a window, from 1 to `TokenWindows.maximumContext`.
    ///   - seed: the run's seed, from which the phase of each epoch is drawn.
    /// - Throws: a `DatasetError` for files that are none, or too short.
    public init(
        file path: String, validation validationPath: String?, vocabulary: Int, context: Int, seed: UInt64
    ) throws(DatasetError) {
        let file = try TokenFile(path, vocabulary: vocabulary)
        let phases = TokenWindows.Phases.drawn(seed: seed)
        if let validationPath {
            let other = try TokenFile(validationPath, vocabulary: vocabulary)
            training = try file.windows(0..<file.count, context: context, phases: phases)
            validation = try other.windows(context: context)
            checksums = [file.checksum, other.checksum]
        } else {
            let split = file.count / 10 * 9 + file.count % 10 * 9 / 10
            training = try file.windows(0..<split, context: context, phases: phases)
            validation = try file.windows(split..<file.count, context: context, phases: .none)
            checksums = [file.checksum]
        }
    }
}
