import Collectives

/// A program whose result is known: in each step all members share the same items out, add them up over the ring, and add the sum to a
/// state that every member has. Whoever is lost, and whoever comes, the state after n steps is `expected(steps: n)`.
package final class ExactRun {
    /// Where in a step something may be done to the run.
    package enum Point: String, CaseIterable, Sendable {
        /// The body begins.
        case begin
        /// The sum is under way.
        case underWay
        /// A second operation has ended, and the first may have.
        case afterControl
        /// All operations have ended; this member is about to be ahead.
        case beforeCommit
        /// The section has ended here.
        case afterSection
        /// In recovery: half of the state is copied.
        case copying
    }

    /// Something that cannot be if the ring is right.
    package struct Disagreement: Error, CustomStringConvertible {
        package let description: String
    }

    package let ring: Ring
    package private(set) var steps = 0
    package private(set) var state: [Int64]
    /// Called at each point; what it throws is the worker's end.
    package var at: (Point) throws -> Void = { _ in }
    /// This member wants the run to stop.
    package var wantsStop: () -> Bool = { false }
    private var isReformAgreed = false
    /// All have heard that the run is to stop, in the same step: a member that was behind is at another place when it hears.
    package private(set) var isStopAgreed = false
    private let sums: UnsafeMutableBufferPointer<Int64>
    private static let items = 24

    package init(ring: Ring, elements: Int) {
        self.ring = ring
        state = [Int64](repeating: 0, count: elements)
        sums = .allocate(capacity: elements)
        sums.initialize(repeating: 0)
        ring.synchronise = { [unowned self] in try synchronise(from: $0) }
    }

    deinit {
        sums.deallocate()
    }

    package static func expected(steps: Int, elements: Int) -> [Int64] {
        let perStep = (0..<items).reduce(Int64(0)) { $0 + Int64($1 + 1) }
        let all = (0..<steps).reduce(Int64(0)) { $0 + Int64($1 + 1) } * perStep
        return (0..<elements).map { all * Int64($0 % 97 + 1) }
    }

    /// A few words for the whole state.
    package var digest: String {
        "\(steps) steps, state \(state.first ?? 0) \(state.reduce(0, &+)) \(state == ExactRun.expected(steps: steps, elements: state.count))"
    }

    /// One step, on whatever members there are.
    package func step() throws {
        if ring.isNewcomer { take(try ring.enter()) }
        if isReformAgreed, ring.progressAtFormation < ring.progress { try ring.reform() }
        isReformAgreed = false
        let outcome = try ring.section(isOpen: true) { try body() }
        guard outcome.values.first == Double(steps) else {
            throw Disagreement(description: "a section with the values \(outcome.values) ended at step \(steps)")
        }
        take(outcome.values)
        try at(.afterSection)
    }

    private func body() throws -> [Double] {
        try at(.begin)
        for index in sums.indices { sums[index] = 0 }
        for item in stride(from: ring.place, to: ExactRun.items, by: ring.worldSize) {
            for index in sums.indices { sums[index] += Int64(item + 1) * Int64(steps + 1) * Int64(index % 97 + 1) }
        }
        let ticket = try ring.startAllReduce(sums)
        try at(.underWay)
        var control = [Double(ring.wishes.contains(.reform) ? 1 : 0), 1, ring.stopOrder == nil && !wantsStop() ? 0 : 1]
        try control.withUnsafeMutableBufferPointer { try ring.allReduce($0) }
        guard control[1] == Double(ring.worldSize) else {
            throw Disagreement(description: "\(control[1]) of \(ring.worldSize) members are counted")
        }
        try at(.afterControl)
        try ring.wait(for: ticket)
        try at(.beforeCommit)
        for index in state.indices { state[index] += sums[index] }
        steps += 1
        return [Double(steps), control[0], control[2]]
    }

    private func take(_ values: [Double]) {
        isReformAgreed = values.count > 1 && values[1] > 0
        isStopAgreed = values.count > 2 && values[2] > 0
    }

    /// Into memory of its own first: a copy that breaks in the middle has changed nothing.
    private func synchronise(from source: Int) throws {
        var copy = state + [Int64(steps)]
        let half = copy.count / 2
        try copy.withUnsafeMutableBufferPointer { try ring.broadcast(.init(rebasing: $0[..<half]), from: source) }
        try at(.copying)
        try copy.withUnsafeMutableBufferPointer { try ring.broadcast(.init(rebasing: $0[half...]), from: source) }
        steps = Int(copy.removeLast())
        state = copy
    }
}
