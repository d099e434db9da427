/// What a rank tells the others, on a new ring, of what it keeps of the optimizer's state: a value and its arithmetic.
package struct ShardReport: Equatable {
    /// A place among so many: says what a member keeps (`ShardLayout`).
    package struct Position: Equatable {
        package var worldSize: Int
        package var place: Int

        package init(worldSize: Int, place: Int) {
            self.worldSize = worldSize
            self.place = place
        }
    }

    /// State for a place, and which sharing out that was: each has a higher number than those before it.
    package struct Share: Equatable {
        package var position: Position
        package var number: Int

        package init(position: Position, number: Int) {
            self.position = position
            self.number = number
        }

        /// The number of the sharing out over a ring; and of the one before members leave it, to those who stay.
        package static func number(generation: Int, isHandOver: Bool = false) -> Int { 2 * generation + (isHandOver ? 1 : 0) }
    }

    /// nil for a rank that keeps nothing.
    package var kept: Share?
    /// What has come since, on a ring that broke before this rank knew that all had theirs.
    package var arrived: Share?
    /// Whether the sums came with it.
    package var sumsArrived: Bool
    /// For which place the rank had the sums before that; nil if no step is decided.
    package var sums: Position?
    /// How many steps the state has seen.
    package var updates: Int

    package init(kept: Share?, arrived: Share?, sumsArrived: Bool, sums: Position?, updates: Int) {
        self.kept = kept
        self.arrived = arrived
        self.sumsArrived = sumsArrived
        self.sums = sums
        self.updates = updates
    }

    /// How the state was shared out last, as far as this rank knows.
    package var number: Int { kept?.number ?? -1 }

    /// What the rank keeps, if the sharing out with that number was the last. nil if it has nothing of that.
    package func position(in number: Int) -> Position? {
        [kept, arrived].compactMap { $0 }.first { $0.number == number }?.position
    }

    /// For which place the rank has the sums then.
    package func sums(in number: Int) -> Position? {
        sumsArrived && arrived?.number == number ? arrived?.position : sums
    }
}

extension ShardReport {
    package static let width = 10

    /// As it goes over the ring.
    package var numbers: [Int64] {
        func of(_ position: Position?) -> [Int64] { [Int64(position?.worldSize ?? 0), Int64(position?.place ?? 0)] }
        func of(_ share: Share?) -> [Int64] { of(share?.position) + [Int64(share?.number ?? -1)] }
        return of(kept) + of(arrived) + of(sums) + [sumsArrived ? 1 : 0, Int64(updates)]
    }

    package init(_ numbers: ArraySlice<Int64>) {
        let all = numbers.map { Int($0) }
        func position(_ index: Int) -> Position? { all[index] == 0 ? nil : .init(worldSize: all[index], place: all[index + 1]) }
        func share(_ index: Int) -> Share? { position(index).map { Share(position: $0, number: all[index + 2]) } }
        self.init(kept: share(0), arrived: share(3), sumsArrived: all[8] != 0, sums: position(6), updates: all[9])
    }
}
