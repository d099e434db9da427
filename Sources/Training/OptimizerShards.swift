import Collectives

/// The part of the optimizer's state that a rank keeps where each keeps a part: its own chunk of the arena's trained elements, and the
/// chunk of the member before it, so that one death loses nothing.
///
/// With n members that is 2 / n of the state, and all of it for one or two. Owns the memory. Used by the compute thread.
final class OptimizerShards {
    /// A stretch of the arena with its state: one array of `range.count` floats for each of the optimizer's names, one after the other.
    final class Piece {
        let range: Range<Int>
        /// How many steps its state has seen.
        var updates: Int
        private let memory: UnsafeMutableBufferPointer<Float>

        init(range: Range<Int>, states: Int, updates: Int) {
            self.range = range
            self.updates = updates
            memory = .allocate(capacity: range.count * states)
            memory.initialize(repeating: 0)
        }

        deinit {
            memory.deallocate()
        }

        /// Where the state with that number stands; valid as long as the piece.
        func state(_ number: Int) -> UnsafeMutablePointer<Float> { memory.baseAddress! + number * range.count }
    }

    /// Elements of the arena that have a state.
    let count: Int
    /// Arrays of state for each of them.
    let states: Int
    private(set) var pieces: [Piece] = []
    /// The ring over which the state is shared out as `pieces` are; -1 before there is any.
    private(set) var generation = -1

    /// Elements that go over the ring at a time when state moves.
    static let segment = 1 << 18

    init(count: Int, states: Int) {
        self.count = count
        self.states = states
    }

    var byteCount: Int { pieces.reduce(0) { $0 + $1.range.count * states * 4 } }

    /// What the member at a place keeps: its chunk, and that of the one before it.
    static func ranges(place: Int, worldSize: Int, chunk: (Int) -> Range<Int>) -> [Range<Int>] {
        let places = worldSize == 1 ? [0] : [place, (place + worldSize - 1) % worldSize]
        return places.map(chunk).filter { !$0.isEmpty }
    }

    func take(_ pieces: [Piece], generation: Int) {
        self.pieces = pieces
        self.generation = generation
    }

    /// Copies what this rank keeps of a stretch's state into memory for that stretch.
    func read(_ range: Range<Int>, state number: Int, into memory: UnsafeMutablePointer<Float>) {
        for piece in pieces {
            let common = piece.range.clamped(to: range)
            guard !common.isEmpty else { continue }
            let source = piece.state(number) + (common.lowerBound - piece.range.lowerBound)
            (memory + (common.lowerBound - range.lowerBound)).update(from: source, count: common.count)
        }
    }
}

extension OptimizerShards.Piece {
    /// Takes what belongs to this piece from memory that holds a stretch of one state.
    func write(_ stretch: Range<Int>, state number: Int, from memory: UnsafePointer<Float>) {
        let common = range.clamped(to: stretch)
        guard !common.isEmpty else { return }
        let target = state(number) + (common.lowerBound - range.lowerBound)
        target.update(from: memory + (common.lowerBound - stretch.lowerBound), count: common.count)
    }
}
