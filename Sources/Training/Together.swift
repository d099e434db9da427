import Collectives

extension Ring {
    /// Does what each rank does by itself and may fail at, such as reading files, so that every rank learns whether it went well on
    /// all: a failure is told once, where it happened, and nobody is left waiting for a rank that has gone. Every rank must call it.
    ///
    /// - Parameter what: what is done, for the message on the ranks where it went well, as in "opening its files".
    /// - Returns: what the body returned, if it failed nowhere.
    /// - Throws: on the lowest rank where the body failed, what it threw; on all others `TrainingError.failedElsewhere`.
    ///   `CollectiveError` if the ring fails.
    public func together<Outcome>(_ what: String, _ body: () throws -> Outcome) throws -> Outcome {
        let outcome = Result { try body() }
        var failed = [Int32](repeating: 0, count: worldSize)
        if case .failure = outcome { failed[rank] = 1 }
        try failed.withUnsafeMutableBufferPointer { try allReduce($0, .max) }
        if let first = failed.firstIndex(of: 1), first != rank { throw TrainingError.failedElsewhere(rank: first, what: what) }
        return try outcome.get()
    }
}
