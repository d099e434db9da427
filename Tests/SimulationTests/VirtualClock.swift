/// Virtual time: things to do, each at its time; what is due at the same time is done in the order in which it was asked for.
struct VirtualClock {
    private struct Item {
        var time: Duration
        var order: Int
        var action: () throws -> Void

        func isBefore(_ other: Item) -> Bool { time == other.time ? order < other.order : time < other.time }
    }

    private(set) var now = Duration.zero
    /// A binary heap: the item at i is before those at 2 i + 1 and 2 i + 2.
    private var heap: [Item] = []
    private var count = 0

    mutating func at(_ time: Duration, _ action: @escaping () throws -> Void) {
        count += 1
        heap.append(Item(time: max(time, now), order: count, action: action))
        var child = heap.count - 1
        while child > 0, heap[child].isBefore(heap[(child - 1) / 2]) {
            heap.swapAt(child, (child - 1) / 2)
            child = (child - 1) / 2
        }
    }

    /// The next thing to do; time has come to it.
    mutating func next() -> (() throws -> Void)? {
        guard let first = heap.first else { return nil }
        now = first.time
        let last = heap.removeLast()
        if !heap.isEmpty {
            heap[0] = last
            var parent = 0
            while true {
                var least = parent
                for child in [2 * parent + 1, 2 * parent + 2] where child < heap.count && heap[child].isBefore(heap[least]) {
                    least = child
                }
                if least == parent { break }
                heap.swapAt(parent, least)
                parent = least
            }
        }
        return first.action
    }
}
