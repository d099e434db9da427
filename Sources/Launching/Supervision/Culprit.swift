import EventLoop
import Membership

/// Finds the worker that is to blame for a run's end: the one that failed first, which is not always the one whose end
/// is seen first, since a peer that lost its neighbour ends only moments later.
struct Culprit {
    /// How far an ending makes its worker the culprit, in rising order. Among equals the first is taken; among those
    /// whose ends were seen at the same time the higher one; and the two lowest give way to a higher one that comes
    /// later, too.
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

    private enum State {
        case nobody
        /// Not reported yet; `nameAt`: when to report it, if it is certain by then.
        case suspected(Suspect, nameAt: Duration?)
        case named(Suspect)
    }

    private var state = State.nobody
    /// Deaths that the others have not yet got over by forming a ring without the dead.
    private var deaths: [Suspect] = []
    private let settling: Duration

    init(settling: Duration) {
        self.settling = settling
    }

    var suspect: Suspect? {
        switch state {
        case .nobody: nil
        case .suspected(let suspect, _), .named(let suspect): suspect
        }
    }

    /// When to name the suspect.
    var nameAt: Duration? { if case .suspected(_, let at) = state { at } else { nil } }

    /// Whether all that is known to have ended has done as told.
    var isObedience: Bool { suspect?.blame == .obeyed }

    mutating func accuse(_ new: Suspect) {
        let settled = new.seen + settling
        switch state {
        case .nobody:
            state = .suspected(new, nameAt: new.blame > .obeyed ? settled : nil)
        case .suspected(let old, let at):
            guard new.blame > old.blame, old.blame <= .consequence || new.seen == old.seen else { return }
            state = .suspected(new, nameAt: at ?? settled)
        case .named: break
        }
    }

    /// A worker died that the others may do without.
    mutating func died(_ dead: Suspect) {
        deaths.append(dead)
    }

    /// The others have done without those that died.
    mutating func forgiveDeaths() {
        deaths = []
    }

    /// The others could not do without: the first that crashed is to blame, or, if none crashed, the first that died.
    ///
    /// - Parameter moment: only of those that were seen to die then.
    mutating func accuseDead(at moment: Duration? = nil) {
        let dead = moment.map { moment in deaths.filter { $0.seen == moment } } ?? deaths
        if let first = dead.first(where: { $0.blame == .crashed }) ?? dead.first { accuse(first) }
        deaths = []
    }

    /// Lives that may yet be named.
    var lives: [Life] { deaths.map(\.ended.life) + (suspect.map { [$0.ended.life] } ?? []) }

    /// The suspect, if there is one to be named and none has been: one that cannot turn out to be another's victim, or,
    /// where all is over, any that has done more than it was told to.
    mutating func name(evenIfVictim: Bool) -> Suspect? {
        guard case .suspected(let suspect, _) = state else { return nil }
        guard suspect.blame > (evenIfVictim ? .obeyed : .consequence) else {
            state = .suspected(suspect, nameAt: nil)
            return nil
        }
        state = .named(suspect)
        return suspect
    }
}
