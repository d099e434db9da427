import Collectives
import Glibc
import Membership
import Synchronization
import TestSupport

/// A worker of an elastic job, as the environment says which: runs so many steps of an `ExactRun`, or until one of the workers gets SIGUSR1,
/// tells each, and ends. With `PROBE_DEATH=STEP:POINT` it kills itself there; with `PROBE_STEP_MICROSECONDS` its steps take that long.
struct ElasticWorker {
    let steps: Int
    let elements: Int
    private static let isSignalled = Atomic<Bool>(false)

    /// `steps`: 0 is no limit.
    init(arguments: [String]) {
        steps = Int(arguments[0])!
        elements = Int(arguments[1])!
    }

    func run() throws {
        do {
            try work()
        } catch let departure as RingDeparture {
            tell("departed \(departure)")
        } catch {
            tell("failed \(error)")
            exit(error is MembershipError ? WorkerStatus.peerLost : 1)
        }
    }

    private func work() throws {
        let environment = try WorkerEnvironment.current()
        let ring = try Ring(environment)
        tell("joined \(ring.isNewcomer ? "as a newcomer" : "generation \(ring.generation)")")
        let run = ExactRun(ring: ring, elements: elements)
        let death = getenv("PROBE_DEATH").map { String(cString: $0).split(separator: ":").map(String.init) }
        let pause = getenv("PROBE_STEP_MICROSECONDS").flatMap { UInt32(String(cString: $0)) } ?? 0
        var generation = ring.generation
        run.at = { point in
            if let death, run.steps == Int(death[0]), point.rawValue == death[1] { kill(getpid(), SIGKILL) }
            if point == .begin, ring.generation != generation {
                generation = ring.generation
                tell("began \(nanoseconds()) in generation \(generation) of \(ring.worldSize)")
            }
            if point == .begin, pause > 0 { usleep(pause) }
        }
        // Touched here first, so that the handler never is the one to make it.
        _ = ElasticWorker.isSignalled.load(ordering: .relaxed)
        Glibc.signal(SIGUSR1) { _ in ElasticWorker.isSignalled.store(true, ordering: .relaxed) }
        run.wantsStop = { ElasticWorker.isSignalled.load(ordering: .relaxed) }
        while steps == 0 || run.steps < steps, !run.isStopAgreed {
            try run.step()
            tell("step \(run.steps) generation \(ring.generation) of \(ring.worldSize)")
        }
        if let order = ring.stopOrder { tell("stopped \(order)") }
        ring.close()
        tell("end \(run.digest)")
    }

    /// The time that all processes of a machine share.
    private func nanoseconds() -> Int {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return time.tv_sec * 1_000_000_000 + time.tv_nsec
    }

    private func tell(_ line: String) {
        print(line)
        fflush(nil)
    }
}
