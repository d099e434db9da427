/// A tensor that training changes. A layer creates it with its shape and first values; a `ParameterArena` then gives
/// it a name and memory. A parameter that two layers share is one parameter, found once.
public final class Parameter {
    public let shape: [Int]
    public let count: Int
    public let initialization: Initialization
    /// Whether weight decay applies: by default to matrices, not to biases and gains.
    public let decays: Bool

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
    }

    /// Its elements' places in the arena.
    public var range: Range<Int> { offset..<offset + count }

    /// `count` values, 64-byte aligned, owned by the arena.
    public var values: UnsafeMutablePointer<Float> { bound.values + offset }

    /// `count` gradients, 64-byte aligned, owned by the arena. A backward pass overwrites them.
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
