import EventLoop
import Glibc
import Testing

/// What a child wrote and how it ended.
private struct Outcome {
    var output: [UInt8] = []
    var errors: [UInt8] = []
    var ending: ChildProcess.Ending?

    var text: String { String(decoding: output, as: UTF8.self) }
}

/// Runs a shell script to its end; `whenRunning` gets the child once it has started.
private func run(
    _ script: String, environment: Environment = .current(), directory: String? = nil, ownGroup: Bool = false,
    whenOutput: @escaping (ChildProcess) -> Void = { _ in }
) throws -> Outcome {
    var outcome = Outcome()
    try withLoop { loop in
        var open = 3
        func closed() {
            open -= 1
            if open == 0 { loop.stop() }
        }
        var specification = ChildProcess.Specification(
            program: "/bin/sh", arguments: ["-c", script], environment: environment)
        specification.output = .pipe
        specification.errors = .pipe
        specification.directory = directory
        specification.ownGroup = ownGroup
        weak var running: ChildProcess?
        let child = try ChildProcess(loop: loop, specification) { ending in
            outcome.ending = ending
            #expect(running?.ending == ending)
            running?.close(closed)
        }
        running = child
        #expect(child.pid > 1)
        let output = try #require(child.output)
        let errors = try #require(child.errors)
        output.received = {
            outcome.output += $0
            if let running { whenOutput(running) }
        }
        errors.received = { outcome.errors += $0 }
        output.ended = { error in
            #expect(error == nil)
            output.close(closed)
        }
        errors.ended = { error in
            #expect(error == nil)
            errors.close(closed)
        }
        output.startReading()
        errors.startReading()
    }
    return outcome
}

@Test(arguments: [0, 1, 3, 255] as [Int32])
func aChildsExitStatusIsReported(status: Int32) throws {
    let ending = try run("exit \(status)").ending
    #expect(ending == .exited(status: status) && ending?.status == status && ending?.isSuccess == (status == 0))
}

@Test(arguments: [Signal.kill, .terminate, .abort])
func theSignalThatKilledAChildIsReported(signal: Signal) throws {
    let ending = try run("kill -\(signal.rawValue) $$; sleep 100").ending
    #expect(ending == .killed(by: signal) && ending?.status == 128 + signal.rawValue)
    #expect(ending?.description == "was killed by \(signal)")
}

@Test func bothOutputsArriveWholeAndApart() throws {
    let outcome = try run("i=0; while [ $i -lt 20000 ]; do echo line $i; echo error $i >&2; i=$((i+1)); done")
    #expect(outcome.output == Array((0..<20_000).map { "line \($0)\n" }.joined().utf8))
    #expect(outcome.errors == Array((0..<20_000).map { "error \($0)\n" }.joined().utf8))
}

@Test func aChildMayOpenItsOutputsByName() throws {
    let outcome = try run("echo a >/dev/stdout; echo b >/dev/stderr")
    #expect(outcome.output == Array("a\n".utf8) && outcome.errors == Array("b\n".utf8))
}

@Test func theInputIsEmpty() throws {
    #expect(try run("cat; echo done").text == "done\n")
}

@Test func theEnvironmentIsTheOneGiven() throws {
    var environment = Environment.current()
    environment["LOCKSTEP_TEST"] = "a=b c"
    environment["LOCKSTEP_GONE"] = "x"
    environment["LOCKSTEP_GONE"] = nil
    environment.merge(["LOCKSTEP_OTHER": "1"])
    #expect(environment["LOCKSTEP_TEST"] == "a=b c" && environment["LOCKSTEP_GONE"] == nil)
    #expect(environment["PATH"] == Environment.current()["PATH"])
    let outcome = try run(
        "echo \"$LOCKSTEP_TEST\" ${LOCKSTEP_GONE-unset} $LOCKSTEP_OTHER", environment: environment)
    #expect(outcome.text == "a=b c unset 1\n")
}

@Test func theDirectoryIsTheOneGiven() throws {
    #expect(try run("pwd", directory: "/usr").text == "/usr\n")
}

@Test(arguments: ["/no/such/program", "no-such-program-anywhere", "/etc/passwd", "/"])
func aProgramThatCannotBeStartedIsNamed(program: String) throws {
    try withLoop { loop in
        var specification = ChildProcess.Specification(program: program)
        specification.output = .pipe
        let error = #expect(throws: LoopError.self) {
            try ChildProcess(loop: loop, specification) { _ in Issue.record("ended without having started") }
        }
        let code: SystemCode = program.contains("no") ? .noSuchFile : .permissionDenied
        #expect(error == .spawn(program: program, code: code))
        loop.stop()
    }
}

@Test func aSignalReachesTheWholeGroupAndNothingAfterTheEnd() throws {
    // The grandchild holds the output open: the test only ends because the signal reaches it too.
    var sent = false
    let outcome = try run("sleep 100 & echo ready; wait", ownGroup: true) { child in
        #expect(getpgid(child.pid) == child.pid && getsid(child.pid) == child.pid)
        child.signalGroup(.terminate)
        sent = true
    }
    #expect(sent && outcome.ending == .killed(by: .terminate))
}

@Test func aSignalReachesTheChild() throws {
    var sent = false
    let outcome = try run("trap 'echo caught; exit 9' USR1; echo ready; while :; do sleep 0.01; done") { child in
        if !sent { child.signal(.user1) }
        sent = true
    }
    #expect(outcome.text == "ready\ncaught\n" && outcome.ending == .exited(status: 9))
}
