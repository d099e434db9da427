import CTensorKernels

/// A model's parameters in one block of memory, so that accumulation, reduction and the optimizer, whose memory is laid
/// out alike, are each one pass over contiguous memory.
///
/// Parameters stand in the reverse of the order in which they were registered: that is about the order in which a
/// backward pass finishes them, so that the gradients that are final form a growing front. Each starts at a multiple
/// of 64 bytes; statistics (`Parameter.isStatistic`) stand behind all others; the gap before the next holds zeros in
/// values, gradients and optimizer state, and every optimizer leaves zeros there. Confined to one thread at a time.
public final class ParameterArena {
    /// In the order of their offsets.
    public let parameters: [Parameter]
    /// Floats in each block, gaps included: a multiple of 16.
    public let count: Int
    /// The part that an optimizer changes: all but the statistics.
    public let trainedRange: Range<Int>
    private let memory: ArenaMemory
    private let indices: [String: Int]

    /// Floats between one possible start and the next: 64 bytes.
    package static let granule = 16

    /// Lays out the parameters and draws their first values, a function of seed and names only. Names must be unique;
    /// a parameter that comes twice keeps its first name.
    public init(_ registered: [(name: String, parameter: Parameter)], seed: UInt64) {
        var seen: Set<ObjectIdentifier> = []
        let unique = registered.filter { seen.insert(ObjectIdentifier($0.parameter)).inserted }
        let ordered = unique.reversed().filter { !$0.parameter.isStatistic } + unique.reversed().filter(\.parameter.isStatistic)
        var offset = 0
        var offsets: [Int] = []
        var trainedEnd = 0
        for (_, parameter) in ordered {
            offsets.append(offset)
            offset += (parameter.count + Self.granule - 1) / Self.granule * Self.granule
            if !parameter.isStatistic { trainedEnd = offset }
        }
        let memory = ArenaMemory(count: offset)
        var indices: [String: Int] = [:]
        for (index, (name, parameter)) in ordered.enumerated() {
            precondition(indices.updateValue(index, forKey: name) == nil, "two parameters are called \(name)")
            parameter.bind(name: name, index: index, offset: offsets[index], memory: memory)
        }
        self.parameters = ordered.map(\.parameter)
        self.count = offset
        self.trainedRange = 0..<trainedEnd
        self.memory = memory
        self.indices = indices
        initialize(seed: seed)
    }

    /// Draws all values anew.
    public func initialize(seed: UInt64) {
        for parameter in parameters {
            let values = UnsafeMutableBufferPointer(start: parameter.values, count: parameter.count)
            parameter.initialization.fill(values, seed: seed, name: parameter.name)
        }
    }

    /// All values, valid as long as the arena.
    public var values: UnsafeMutableBufferPointer<Float> { .init(start: memory.values, count: count) }

    /// All gradients that a backward pass has left here, valid as long as the arena. They take memory from the first
    /// look at them on, or the first such pass: a pass that gives its gradients away
    /// (`Tape.backward(from:gradientReady:)`) needs none.
    public var gradients: UnsafeMutableBufferPointer<Float> { .init(start: memory.gradients, count: count) }

    /// How many numbers an optimizer changes: `count` without gaps and statistics.
    public var elementCount: Int { parameters.reduce(0) { $0 + ($1.isStatistic ? 0 : $1.count) } }

    /// Moves every statistic towards what this step observed.
    ///
    /// - Parameters:
    ///   - sums: gradients laid out as the arena is, among which the observations stand.
    ///   - scale: what makes a mean of a sum over micro-batches: 1 / their weight.
    public func updateStatistics(from sums: UnsafePointer<Float>, scale: Float) {
        for parameter in parameters {
            guard let momentum = parameter.statisticMomentum else { continue }
            tensor_move_average(parameter.values, sums + parameter.offset, scale, momentum, parameter.count)
        }
    }

    /// The same from the arena's own gradients.
    public func updateStatistics(scale: Float) {
        updateStatistics(from: UnsafePointer(memory.gradients), scale: scale)
    }

    /// Where each trained parameter's part of the arena ends, the gap behind it included; in the order of `parameters`.
    public var trainedPartEnds: [Int] {
        let trained = parameters.filter { !$0.isStatistic }
        return trained.dropFirst().map(\.offset) + (trained.isEmpty ? [] : [trainedRange.upperBound])
    }

    func holds(_ parameter: Parameter) -> Bool {
        parameters.indices.contains(parameter.index) && parameters[parameter.index] === parameter
    }

    /// The parameter of that name, if there is one.
    public subscript(name: String) -> Parameter? { indices[name].map { parameters[$0] } }

    /// The places between which `decays` does not change, in order, covering the whole arena. A gap goes with the
    /// parameter before it.
    public private(set) lazy var decayRuns: [(range: Range<Int>, decays: Bool)] = {
        var runs: [(range: Range<Int>, decays: Bool)] = []
        for parameter in parameters {
            let end = parameter.index + 1 < parameters.count ? parameters[parameter.index + 1].offset : count
            if let last = runs.last, last.decays == parameter.decays {
                runs[runs.count - 1].range = last.range.lowerBound..<end
            } else {
                runs.append((parameter.offset..<end, parameter.decays))
            }
        }
        return runs
    }()
}
