/// A tensor that training changes. Most follow their gradient; a statistic, such as the average mean of a batch normalisation,
/// follows what passes observe instead. A layer creates it with its shape and first values; a `ParameterArena` then gives
/// it a name and memory. A parameter that two layers share is one parameter, found once.
public final class Parameter {
    public let shape: [Int]
    public let count: Int
    public let initialization: Initialization
    /// Whether weight decay applies: by default to matrices, not to biases and gains.
    public let decays: Bool
    /// What part of the way to the newest observation a statistic goes in a step; nil for what an optimizer changes.
    public let statisticMomentum: Float?

    /// Where it is in the model: the properties' names and array indices on the way to it,
    /// `blocks.0.attention.qkv.weight`.
    public private(set) var name = ""
    /// Its position in `ParameterArena.parameters`.
    public private(set) var index = -1
    /// Its first element's position in the arena.
    public private(set) var offset = 0
    /// Keeps the memory alive as long as a layer can reach it.
    private var memory: ArenaMemory?

    public init(_ shape: [Int], _ initialization: Initialization, decays: Bool? = nil) {
        precondition(shape.allSatisfy { $0 >= 0 }, "a parameter's dimensions are not negative: \(shape)")
        self.shape = shape
        self.count = shape.reduce(1, *)
        self.initialization = initialization
        self.decays = decays ?? (shape.count >= 2)
        statisticMomentum = nil
    }

    /// A statistic: a running average of what passes observe. In the place of a gradient it has the observation, times
    /// the pass's weight, so that the means over a step's micro-batches are exact sums like everything else; the
    /// optimizer, decay and gradient norms leave it alone. Checkpoints keep it among the weights.
    ///
    /// - Parameter momentum: average += momentum * (mean observation of the step - average).
    public init(statistic shape: [Int], _ initialization: Initialization, momentum: Float) {
        precondition(shape.allSatisfy { $0 >= 0 }, "a parameter's dimensions are not negative: \(shape)")
        precondition(momentum >= 0 && momentum <= 1, "a statistic's momentum of \(momentum)")
        self.shape = shape
        self.count = shape.reduce(1, *)
        self.initialization = initialization
        decays = false
        statisticMomentum = momentum
    }

    public var isStatistic: Bool { statisticMomentum != nil }

    /// Its elements' places in the arena.
    public var range: Range<Int> { offset..<offset + count }

    /// `count` values, 64-byte aligned, owned by the arena.
    public var values: UnsafeMutablePointer<Float> { bound.values + offset }

    /// `count` gradients, 64-byte aligned, owned by the arena: see `ParameterArena.gradients`.
    public var gradients: UnsafeMutablePointer<Float> { bound.gradients + offset }

    private var bound: ArenaMemory {
        guard let memory else { preconditionFailure("parameter of shape \(shape) is in no ParameterArena yet") }
        return memory
    }

    func bind(name: String, index: Int, offset: Int, memory: ArenaMemory) {
        precondition(self.memory == nil, "parameter \(name) is in an arena already, as \(self.name)")
        self.name = name
        self.index = index
        self.offset = offset
        self.memory = memory
    }
}
