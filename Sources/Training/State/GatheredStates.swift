/// The whole of each of the optimizer's states, in memory of its own or the trainer's.
final class GatheredStates {
    let states: [UnsafeMutableBufferPointer<Float>]
    private let isOwner: Bool

    init(states: [UnsafeMutableBufferPointer<Float>], isOwner: Bool) {
        self.states = states
        self.isOwner = isOwner
    }

    deinit {
        guard isOwner else { return }
        for memory in states { memory.deallocate() }
    }
}
