/// Which members hold which stretches of the arena, as they tell each other: arithmetic on which all ranks agree.
package struct ShardHoldings: Equatable {
    /// By place.
    package var ranges: [[Range<Int>]]

    package init(ranges: [[Range<Int>]]) {
        self.ranges = ranges
    }

    /// What one member sends at a time: stretches that it holds, a few or one.
    package struct Parcel: Equatable {
        /// The lowest place that holds all of them; nil if they are lost.
        package var holder: Int?
        package var stretches: [Range<Int>]

        package init(holder: Int?, stretches: [Range<Int>]) {
            self.holder = holder
            self.stretches = stretches
        }

        package var count: Int { stretches.reduce(0) { $0 + $1.count } }
    }

    /// All of `0 ..< count`, in order, in parcels of at most `limit` elements.
    package func parcels(count: Int, limit: Int) -> [Parcel] {
        var parcels: [Parcel] = []
        for stretch in stretches(count: count) {
            let holder = holder(of: stretch)
            for start in stride(from: stretch.lowerBound, to: stretch.upperBound, by: limit) {
                let part = start..<min(start + limit, stretch.upperBound)
                if let last = parcels.last, last.holder == holder, last.count + part.count <= limit {
                    parcels[parcels.count - 1].stretches.append(part)
                } else {
                    parcels.append(Parcel(holder: holder, stretches: [part]))
                }
            }
        }
        return parcels
    }

    /// The stretches between which nothing changes in who holds them.
    private func stretches(count: Int) -> [Range<Int>] {
        let ends = Set(ranges.joined().flatMap { [$0.lowerBound, $0.upperBound] } + [0, count]).sorted()
        return zip(ends, ends.dropFirst()).map { $0..<$1 }
    }

    private func holder(of stretch: Range<Int>) -> Int? {
        ranges.firstIndex { $0.contains { $0.lowerBound <= stretch.lowerBound && stretch.upperBound <= $0.upperBound } }
    }
}
