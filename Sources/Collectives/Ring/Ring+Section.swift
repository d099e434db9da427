import Membership

extension Ring {
    /// What a section gave.
    public struct Outcome: Sendable {
        /// What the body returned: here, or, if this rank was behind, on one that was not.
        public var values: [Double]
        /// The section had ended elsewhere, and this rank has got the values, and the state by `synchronise`, from there; the body has
        /// not come to its end here.
        public var wasBehind: Bool
    }

    /// What is to happen at the next boundary between sections, where all ranks agree on it.
    public struct Wishes: OptionSet, Sendable {
        public let rawValue: Int
        public init(rawValue: Int) { self.rawValue = rawValue }

        /// Somebody waits to come in or is to go: call `reform` on every rank.
        public static let reform = Wishes(rawValue: 1)
        /// Write a checkpoint and stop.
        public static let stop = Wishes(rawValue: 2)
    }

    /// Runs a part of the program that all ranks take, in the same order. Where a member is lost in it, the survivors form the next
    /// generation's ring, and the body runs again, wherever it had not ended anywhere; a rank that is behind (the section has ended on
    /// another) gets the other's values and state instead.
    ///
    /// What a body must keep to:
    /// - at least one of its operations is an all-reduce or a barrier, so that no rank can be more than one section ahead of another;
    /// - whatever it changes that outlives it, it changes at its end, after its last operation, so that it can run again;
    /// - a ring failure passes through it: it may catch one to put things in order, and must throw it on.
    ///
    /// - Parameter isOpen: whether newcomers may be let in when the ring is formed again in this section: they come to the program's
    ///   place of `enter`.
    /// - Parameter isPreparation: what is done is not yet the program's work, such as comparing flags. Where ranks were started by hand, the
    ///   loss of one before the first section of work has ended ends the job.
    /// - Returns: the values that the body returned, at most a few thousand, which are kept until the next section has ended.
    /// - Throws: what the body throws, other than ring failures; `MembershipError` where the coordinator is lost or sends this worker
    ///   away; `RingDeparture` where it is to go. Operations that the body has left under way do not outlive it: the ring is then closed,
    ///   the caller's memory is its own again, and the others lose this worker.
    @discardableResult
    public func section(isOpen: Bool = false, isPreparation: Bool = false, _ body: () throws -> [Double]) throws -> Outcome {
        // A section in a section is a part of it.
        if isInSection { return Outcome(values: try body(), wasBehind: false) }
        isInSection = true
        defer { isInSection = false }
        // A newcomer's sections are not counted: the others' are to be its own.
        if isNewcomer { return Outcome(values: try body(), wasBehind: false) }
        while true {
            do {
                keptValues = try body()
                _ = recovery.receive(.sectionEnded)
                progress = recovery.progress
                if !isPreparation { worked() }
                return Outcome(values: keptValues, wasBehind: false)
            } catch let error as CollectiveError where error.isRingFailure && control != nil {
                if try recover(isOpen: isOpen, isBoundary: false) { return Outcome(values: keptValues, wasBehind: true) }
            } catch {
                if shared.withLock({ $0.completed < $0.submitted }) { stop() }
                throw error
            }
        }
    }

    /// Lets a newcomer in: waits until the others form their next ring at a boundary, or in an open section. Afterwards it has their
    /// state, by `synchronise`, and their progress.
    ///
    /// - Returns: the values of the last section that has ended.
    /// - Throws: `RingDeparture.over` if the job ends before that; as `section` otherwise.
    @discardableResult
    public func enter() throws -> [Double] {
        if isNewcomer { _ = try recover(isOpen: true, isBoundary: true) }
        return keptValues
    }

    /// Forms the next generation at a boundary between sections: every rank calls it alike, because all know by an operation that
    /// somebody wishes it. Throws `RingDeparture.retired` on a rank that is to go.
    public func reform() throws {
        precondition(!isInSection, "reform() in a section: it belongs between two")
        if control != nil, !isNewcomer { _ = try recover(isOpen: true, isBoundary: true) }
    }

    /// What the coordinator wants to happen at the next boundary, as far as this rank has heard. Ranks hear at different times: put it
    /// into an operation, and do what all know then.
    public var wishes: Wishes { shared.withLock { $0.news.wantsReform ? .reform : [] } }

    /// Set when the coordinator says that the run is to write a checkpoint and stop: why, for people. The same on every rank of a
    /// generation.
    public var stopOrder: String? { stopText }

    /// Asks for the next of `count` pieces of this section's work, without waiting. `claim` takes the answer.
    public func startClaim(of count: Int) {
        guard let control, worldSize > 1, !hasAskedForClaim else { return }
        hasAskedForClaim = true
        shared.withLock { $0.news.receive(.claimAsked) }
        control.claim(generation: generation, section: progress, count: count)
    }

    /// The next piece of this section's work that is this rank's: one of `0 ..< count`, each of which goes to one rank of this
    /// generation; nil when there is nothing more for it. Asks now, unless `startClaim` has asked.
    ///
    /// To lose no time, ask for the next when a piece begins, and take the answer before it ends:
    ///
    ///     var current = try ring.claim(of: count)
    ///     while let piece = current {
    ///         ring.startClaim(of: count)
    ///         ... most of the work ...
    ///         current = try ring.claim(of: count)  // nil: `piece` is this rank's last
    ///         ... the rest of it ...
    ///     }
    ///
    /// Throws as operations do; what was asked for is then forgotten.
    public func claim(of count: Int) throws -> Int? {
        guard control != nil, worldSize > 1 else { return claimAlone(of: count) }
        startClaim(of: count)
        hasAskedForClaim = false
        let section = UInt64(progress)
        let answer: Result<Int?, any Error> = shared.wait(.computeThread) { shared in
            if let claim = shared.news.claim, claim.section == section { return .success(claim.piece) }
            return shared.failure.map { .failure($0) }
        }
        if case .failure = answer { data?.settle() }
        return try answer.get()
    }

    private func claimAlone(of count: Int) -> Int? {
        if localClaims.section != progress || localClaims.generation != generation { localClaims = (generation, progress, 0) }
        defer { localClaims.next += 1 }
        return localClaims.next < count ? localClaims.next : nil
    }
}
