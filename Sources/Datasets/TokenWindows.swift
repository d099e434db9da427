/// A stretch of text as windows of a fixed number of tokens, each with the tokens that follow.
///
/// Dimensions: T tokens of context, n tokens in the stretch.
///
/// A sample is a window: T tokens to read, and for each the token that follows it as its target. Sample i of epoch e
/// begins at token `phase(e) + i * T`, so the windows of an epoch do not overlap and each token is a target at most
/// once an epoch.
/// - For training, phase(e) is drawn from `0 ..< T` for each epoch by (seed, e), so that a token meets different
///   contexts in different epochs. There are `(n - T) / T` windows (rounded down), which fit at every phase: the count
///   does not change between epochs, and fewer than 2T tokens at the two ends of the stretch sit out an epoch.
/// - For validation, the phase is 0 and there are `(n - 1) / T` windows: all that fit.
public struct TokenWindows: Dataset {
    public typealias Batch = TextBatch

    /// The longest context. Attention's cost grows with its square, so this is no restriction.
    public static let maximumContext = 1 << 20

    /// Where the windows of an epoch begin.
    enum Phases: Sendable {
        /// At the first token, in every epoch.
        case none
        /// At a token below T that is drawn anew for each epoch.
        case drawn(seed: UInt64)
    }

    /// The number of windows in an epoch.
    public let count: Int
    /// T.
    public let context: Int

    private let tokens: any TokenSource
    private let first: Int
    private let phases: Phases

    /// The stretch `range` of `tokens`, which has to hold at least one window.
    init(tokens: any TokenSource, range: Range<Int>, context: Int, phases: Phases) {
        precondition(range.lowerBound >= 0 && range.upperBound <= tokens.count, "\(range) of \(tokens.count)")
        precondition(
            context >= 1 && range.count >= TokenWindows.neededTokens(context: context, phases: phases),
            "\(range.count) tokens for a context of \(context)")
        switch phases {
        case .none: count = (range.count - 1) / context
        case .drawn: count = (range.count - context) / context
        }
        self.tokens = tokens
        self.context = context
        self.first = range.lowerBound
        self.phases = phases
    }

    /// The fewest tokens that hold one window, T and the last target, at the latest phase that occurs.
    static func neededTokens(context: Int, phases: Phases) -> Int {
        switch phases {
        case .none: context + 1
        case .drawn: 2 * context
        }
    }

    /// T.
    public var itemsPerSample: Int { context }

    /// The windows of `samples` in that order.
    ///
    /// - Throws: where the tokens come from a file, a `DatasetError` if it cannot be read any more or has a token outside the
    ///   vocabulary.
    public func batch(epoch: Int, _ samples: [Int]) throws(DatasetError) -> TextBatch {
        let start = first + phase(epoch)
        var inputs: [Int32] = []
        var targets: [Int32] = []
        inputs.reserveCapacity(samples.count * context)
        targets.reserveCapacity(samples.count * context)
        for sample in samples {
            precondition(sample >= 0 && sample < count, "window \(sample) of \(count)")
            let begin = start + sample * context
            try tokens.append(begin..<begin + context, to: &inputs)
            targets.append(contentsOf: inputs.suffix(context - 1))
            try tokens.append(begin + context..<begin + context + 1, to: &targets)
        }
        return TextBatch(tokens: inputs, targets: targets, count: samples.count, context: context)
    }

    /// The token, relative to the stretch, at which the epoch's first window begins: in `0 ..< T`.
    func phase(_ epoch: Int) -> Int {
        switch phases {
        case .none: 0
        case .drawn(let seed): Int(SplitMix.key(seed: seed, index: epoch) % UInt64(context))
        }
    }
}

/// Where tokens come from: an array here, and a `TokenFile` where the text is larger than memory.
protocol TokenSource: Sendable {
    /// The number of tokens.
    var count: Int { get }
    /// Appends the tokens of `range`, which lies in `0 ..< count`.
    func append(_ range: Range<Int>, to array: inout [Int32]) throws(DatasetError)
}

extension [UInt16]: TokenSource {
    func append(_ range: Range<Int>, to array: inout [Int32]) {
        array.append(contentsOf: self[range].lazy.map { Int32($0) })
    }
}
