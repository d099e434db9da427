import EventLoop
import Membership

/// Finds the worker that is to blame for a run's end: the one that failed first, which is not always the one whose end is seen
/// first, since a peer that lost its neighbour ends only moments later.
struct Culprit {
    /// How far an ending makes its worker the culprit, in rising order. Among equals the first is taken; among those whose ends
    /// were seen at the same time the higher one; and the two lowest give way to a higher one that comes later, too.
    enum Blame: Int, Comparable {
        /// It did what we had told it to.
        case obeyed
        /// It lost a peer, or failed after it was told to end.
        case consequence
        /// It ended with a status of its own.
        case failed
        /// It was killed by a signal that we did not send.
        case crashed

        static func < (left: Blame, right: Blame) -> Bool { left.rawValue < right.rawValue }
    }

    struct Suspect {
        let ended: EndedLife
        let blame: Blame
        let seen: Duration
    }

    private(set) var suspect: Suspect?
    private(set) var isNamed = false
    /// When to name the suspect.
    private(set) var nameAt: Duration?
    /// Deaths that the others have not yet got over by forming a ring without the dead.
    private var deaths: [Suspect] = []
    private let settling: Duration

    init(settling: Duration) {
        self.settling = settling
    }

    /// Whether somebody is to blame for more than having done as told.
    var isFound: Bool { suspect.map { $0.blame > .obeyed } ?? false }

    /// Whether all that is known to have ended has done as told.
    var isObedience: Bool { suspect?.blame == .obeyed }

    /// Whether that somebody cannot turn out to have been the victim of another.
    var isCertain: Bool { suspect.map { $0.blame > .consequence } ?? false }

    mutating func accuse(_ new: Suspect) {
        guard let old = suspect else {
            suspect = new
            nameAt = new.blame > .obeyed ? new.seen + settling : nil
            return
        }
        guard !isNamed, new.blame > old.blame, old.blame <= .consequence || new.seen == old.seen else { return }
        suspect = new
        nameAt = nameAt ?? new.seen + settling
    }

    /// A worker died that the others may do without.
    mutating func died(_ dead: Suspect) {
        deaths.append(dead)
    }

    /// The others have done without.
    mutating func forgiveDeaths() {
        deaths = []
    }

    /// The others could not do without: whoever died first, and of these rather one that crashed, is to blame.
    ///
    /// - Parameter moment: only of those that were seen to die then.
    mutating func accuseDead(at moment: Duration? = nil) {
        let dead = moment.map { moment in deaths.filter { $0.seen == moment } } ?? deaths
        if let first = dead.first(where: { $0.blame == .crashed }) ?? dead.first { accuse(first) }
        deaths = []
    }

    /// Lives that may yet be named.
    var lives: [Life] { deaths.map(\.ended.life) + (suspect.map { [$0.ended.life] } ?? []) }

    /// The suspect, if there is one to be named and none has been.
    mutating func name(evenIfVictim: Bool) -> Suspect? {
        nameAt = nil
        guard let suspect, !isNamed, isCertain || evenIfVictim && isFound else { return nil }
        isNamed = true
        return suspect
    }
}
