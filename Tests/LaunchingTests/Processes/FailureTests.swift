import EventLoop
import Glibc
import Launching
import Membership
import TestSupport
import Testing

@Test(arguments: [1, 2, 4])
func theFirstFailureIsTheStatusAndIsNamed(workers: Int) throws {
    let last = workers - 1
    let launched = try launch(
        "if [ $RANK = \(last) ]; then echo went wrong >&2; exit 3; fi; exec sleep 100", workers: workers)
    let failure = try #require(launched.outcome.failure)
    #expect(launched.outcome.status == 3)
    #expect(failure.rank == last && failure.ending == .exited(status: 3) && failure.lastLines == ["went wrong"])
    #expect(launched.errors.text.contains("lockstep: rank \(last) (pid \(failure.pid)) exited with status 3 after "))
    #expect(launched.errors.text.contains("; its last lines:\n    went wrong\n"))
}

@Test func aWorkerKilledByASignalGivesItsNumber() throws {
    let launched = try launch("[ $RANK = 1 ] && kill -SEGV $$; exec sleep 100", workers: 3)
    #expect(launched.outcome.status == 128 + SIGSEGV)
    let failure = try #require(launched.outcome.failure)
    #expect(failure.rank == 1 && failure.ending == .killed(by: .segmentationFault))
    #expect(launched.errors.text.contains("was killed by SIGSEGV after "))
    #expect(launched.errors.text.contains("; it wrote nothing\n"))
}

@Test func theLastTwentyLinesAreShown() throws {
    let launched = try launch("i=0; while [ $i -lt 50 ]; do echo out $i; i=$((i+1)); done; exit 1", workers: 1)
    #expect(launched.outcome.failure?.lastLines == (30..<50).map { "out \($0)" })
}

@Test func aWorkerThatLostAPeerIsNotToBlame() throws {
    // Rank 0 ends with the status of a lost peer, once rank 1 is deaf; the rank that is the cause ends a little later.
    let folder = try TemporaryFolder()
    let script = """
        trap '' TERM; if [ $RANK = 1 ]; then >\(folder("deaf")); sleep 0.2; exit 9; fi
        while [ ! -e \(folder("deaf")) ]; do sleep 0.02; done; exit \(WorkerStatus.peerLost)
        """
    let launched = try launch(script, workers: 2) {
        $0.policy.limits.judgement = generousLimit
        $0.policy.limits.overlap = generousLimit
    }
    #expect(launched.outcome.status == 9 && launched.outcome.failure?.rank == 1)
    let alone = try launch("exit \(WorkerStatus.peerLost)", workers: 2)
    #expect(alone.outcome.status == WorkerStatus.peerLost && alone.outcome.failure != nil)
}

@Test func aWorkerThatIgnoresSIGTERMIsKilledAfterTheGrace() throws {
    try expectOnce(within: .seconds(5), attempts: 5) {
        let folder = try TemporaryFolder()
        // Rank 0 fails once rank 1 is deaf.
        let script = """
            trap '' TERM; echo $$; if [ $RANK = 1 ]; then >\(folder("deaf")); else
                while [ ! -e \(folder("deaf")) ]; do sleep 0.02; done; >\(folder("failed")); exit 4
            fi; while :; do sleep 1; done
            """
        let launched = try launch(script, workers: 2) { $0.policy.limits.graceAfterFailure = .milliseconds(200) }
        let after = age(of: folder("failed"))
        let pids = launched.output.lines.compactMap { Int32($0.dropFirst(4)) }
        #expect(pids.count == 2 && allGone(pids, within: .zero))
        #expect(launched.outcome.status == 4 && launched.outcome.failure?.rank == 0)
        #expect(after >= .milliseconds(200))
        #expect(launched.errors.text.contains("lockstep: killing what did not end when told to: rank 1 (pid "))
        #expect(launched.output.lines.contains { $0.hasPrefix("[1] ") && launched.errors.text.contains("rank 1 (pid \($0.dropFirst(4))") })
        return after
    }
}

/// How long ago a file was made.
private func age(of path: String) -> Duration {
    var status = stat()
    var now = timespec()
    guard stat(path, &status) == 0, clock_gettime(CLOCK_REALTIME, &now) == 0 else { return .zero }
    return .seconds(now.tv_sec - status.st_mtim.tv_sec) + .nanoseconds(now.tv_nsec - status.st_mtim.tv_nsec)
}

@Test func whatAWorkerLeavesBehindIsEnded() throws {
    // One grandchild holds the output and has to be told; one does not and is killed at the end.
    let launched = try launch(
        "sleep 100 & echo $!; sleep 100 >/dev/null 2>&1 & echo $!; exit 0", workers: 2
    ) { $0.policy.limits.leftovers = .milliseconds(100) }
    let pids = launched.output.lines.compactMap { Int32($0.dropFirst(4)) }
    #expect(pids.count == 4 && allGone(pids))
    #expect(launched.outcome == Launcher.Outcome(status: 0, failure: nil))
}

@Test func anOutputHeldFromOutsideTheGroupIsNotWaitedForForEver() throws {
    let launched = try launch("setsid sleep 600 & echo $!; exit 0", workers: 1) {
        $0.policy.limits.leftovers = .milliseconds(50)
        $0.policy.limits.graceAfterFailure = .milliseconds(50)
        $0.policy.limits.kill = .milliseconds(50)
    }
    #expect(launched.outcome.status == 0)
    // It left on purpose, with a session of its own, and is still there; the test cleans up after itself.
    let pid = try #require(launched.output.lines.first.flatMap { Int32($0.dropFirst(4)) })
    #expect(isAlive(pid))
    if pid > 1 { kill(pid, SIGKILL) }
}

@Test func aProgramThatIsMissingIsNamedWithThePlacesSearched() throws {
    func failure(_ program: String, path: String? = nil) -> LaunchError? {
        #expect(throws: LaunchError.self) {
            try launch("", workers: 3) {
                $0.program = program
                if let path { $0.environment = ["PATH": path] }
            }
        }
    }
    let bare = failure("no-such-trainer", path: "/usr/bin:/nowhere")
    #expect(
        bare == .programNotFound(program: "no-such-trainer", searched: "/usr/bin:/nowhere", isInCurrentDirectory: false))
    #expect(bare?.status == 127)
    #expect(
        bare?.description
            == "cannot find program \"no-such-trainer\" in PATH (/usr/bin:/nowhere); give its path, or install it")
    #expect(failure("./no/such") == .programNotFound(program: "./no/such", searched: "", isInCurrentDirectory: false))
    #expect(failure("/etc/passwd") == .programNotExecutable(path: "/etc/passwd"))
    #expect(failure("/usr") == .programNotExecutable(path: "/usr"))
    #expect(failure("")?.status == 127)
}

@Test func whatIsStartedBeforeAFailureInStartingIsEnded() throws {
    // The interpreter is there for rank 0 only: it is a link that rank 0's worker removes.
    let folder = try TemporaryFolder()
    let program = folder("trainer")
    let file = try #require(fopen(program, "w"))
    fputs("#!/no/such/interpreter\n", file)
    fclose(file)
    chmod(program, 0o755)
    let error = #expect(throws: LaunchError.self) { try launch("", workers: 2) { $0.program = program } }
    #expect(error == .workerNotStarted(rank: 0, program: program, code: .noSuchFile))
}

@Test func anErrorBeforeTheStartLeavesNothing() throws {
    struct Refused: Error {}
    var timer: Timer?
    #expect(throws: Refused.self) {
        try launch("echo started", workers: 2) {
            $0.beforeStart = { loop in
                timer = try Timer(loop: loop) {}
                throw Refused()
            }
        }
    }
    #expect(timer?.isClosed == true)
}
