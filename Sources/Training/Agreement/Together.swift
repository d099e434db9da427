import Collectives

/// What a rank failed at, and that all ranks know of it: each of them throws this at the same place.
public struct SharedFailure: Error, CustomStringConvertible {
    /// The lowest rank that failed.
    public let rank: Int
    /// What it was doing.
    public let what: String
    /// Why, on that rank; nil on the others.
    public let cause: (any Error)?

    public var description: String {
        cause.map { "\($0)" } ?? "rank \(rank) failed in \(what); what it says itself says why"
    }
}

extension Ring {
    /// Does what each rank does by itself and may fail at, such as reading files, so that every rank learns whether it went well on
    /// all: a failure is told once, where it happened, and nobody is left waiting for a rank that has gone. Every rank must call it.
    ///
    /// It is a `section`: where a worker is lost in it, the others do it again, so that what only the first does is done by whoever is
    /// first then.
    ///
    /// - Parameter what: what is done, for the message on the ranks where it went well, as in "opening its files".
    /// - Returns: what the body returned, if it failed nowhere.
    /// - Throws: `SharedFailure` on every rank if the body failed on any; `CollectiveError` if the ring fails.
    public func together<Outcome>(_ what: String, _ body: () throws -> Outcome) throws -> Outcome {
        var outcome: Result<Outcome, any Error>?
        let values = try section(isPreparation: true) {
            let result = Result { try body() }
            if case .failure(let error) = result, error is CollectiveError || error is FaultInjector.Death { throw error }
            outcome = result
            return [Double(try firstFailure(result))]
        }.values
        // A rank that was behind has come as far as the flags, or there would be nobody ahead of it.
        guard let outcome else { preconditionFailure("a section has ended in which this rank has done nothing") }
        guard let first = values.first.map({ Int($0) }), first >= 0 else { return try outcome.get() }
        guard first == rank, case .failure(let cause) = outcome else { throw SharedFailure(rank: first, what: what, cause: nil) }
        throw SharedFailure(rank: first, what: what, cause: cause)
    }

    /// The lowest rank on which there is a failure; -1 if there is none. A collective operation.
    func firstFailure<Outcome>(_ outcome: Result<Outcome, any Error>) throws -> Int {
        var failed = [Int32](repeating: 0, count: worldSize)
        if case .failure = outcome { failed[place] = 1 }
        try failed.withUnsafeMutableBufferPointer { try allReduce($0, .max) }
        return failed.firstIndex(of: 1).map { members[$0] } ?? -1
    }
}
