import EventLoop
import Glibc
import Launching
import TestSupport
import Testing

/// Each worker says its pid; traps say what they caught.
private let politeScript = #"""
    trap 'echo caught INT; exit 0' INT; trap 'echo caught TERM; exit 7' TERM
    echo pid $$; while :; do sleep 0.02; done
    """#

private func pids(_ launcher: RemoteLauncher) -> [Int32] {
    launcher.lines.compactMap { $0.contains("pid ") ? $0.split(separator: " ").last.flatMap { Int32($0) } : nil }
}

/// Starts three workers and sends the signals, each when all have said what they have to say about the one before.
private func signal(_ signals: [Signal], script: String = politeScript) throws -> RemoteLauncher {
    let launcher = RemoteLauncher()
    var sent = 0
    try launcher.run(workers: 3, script: script) { _, child in
        if launcher.lines.count == 3 * (sent + 1) && sent < signals.count {
            child.signal(signals[sent])
            sent += 1
        }
    }
    #expect(pids(launcher).count == 3 && allGone(pids(launcher)))
    return launcher
}

@Test func aFirstInterruptIsPassedOnOnceToEach() throws {
    let launcher = try signal([.interrupt])
    #expect(launcher.lines.filter { $0.hasSuffix("caught INT") }.sorted() == (0..<3).map { "[\($0)] caught INT" })
    // All did as they were told and ended well.
    #expect(launcher.ending == .exited(status: 0))
    #expect(launcher.errorLines.count == 1 && launcher.errorLines[0].hasPrefix("lockstep: interrupted: "))
}

@Test(arguments: [Signal.terminate, .hangUp])
func aRequestToTerminateIsPassedOn(request: Signal) throws {
    let launcher = try signal([request])
    #expect(launcher.lines.filter { $0.hasSuffix("caught TERM") }.count == 3)
    #expect(launcher.ending == .exited(status: 7))
}

@Test func workersThatDieOfTheSignalAreNotReportedAsFailures() throws {
    let launcher = try signal([.interrupt], script: "echo pid $$; exec sleep 100")
    #expect(launcher.ending == .exited(status: 130))
    #expect(!launcher.errorLines.contains { $0.contains("was killed by") })
}

@Test func theSecondInterruptTerminatesAndTheThirdKills() throws {
    let stubborn = #"""
        trap 'echo caught INT' INT; trap 'echo caught TERM' TERM
        echo pid $$; while :; do sleep 0.02; done
        """#
    let launcher = try signal([.interrupt, .interrupt, .interrupt], script: stubborn)
    #expect(launcher.lines.filter { $0.hasSuffix("caught INT") }.count == 3)
    #expect(launcher.lines.filter { $0.hasSuffix("caught TERM") }.count == 3)
    #expect(launcher.ending == .exited(status: 137))
}

@Test func stoppedWorkersAreKilledToo() throws {
    let launcher = RemoteLauncher()
    try launcher.run(workers: 2, grace: .milliseconds(200), script: "echo pid $$; exec sleep 100") { _, child in
        guard launcher.lines.count == 2 else { return }
        for pid in pids(launcher) { stop(pid) }
        child.signal(.terminate)
    }
    #expect(allGone(pids(launcher)))
    #expect(launcher.ending == .exited(status: 137))
}

@Test(arguments: [false, true])
func whenTheLauncherIsKilledEveryWorkerIsGoneWithinTwoSeconds(stopped: Bool) throws {
    try expectOnce(within: .seconds(2), attempts: 5) { try timeToEndWithTheLauncher(stopped: stopped) }
}

/// How long it takes until everything that a launcher has started is gone after it is killed.
private func timeToEndWithTheLauncher(stopped: Bool) throws -> Duration {
    // Workers that ignore every request, with children of their own; some are stopped besides. Should all else fail, they end
    // by themselves after half a minute.
    let script = #"""
        trap '' INT TERM HUP
        sh -c 'echo pid $$; for i in 1 2 3 4 5 6; do sleep 5; done' & echo pid $$; for i in 1 2 3 4 5 6; do sleep 5; done
        """#
    let launcher = RemoteLauncher()
    var killed = ContinuousClock.now
    var guardians: [Int32] = []
    try launcher.run(workers: 3, script: script) { _, child in
        guard launcher.lines.count == 6 else { return }
        if stopped { for pid in pids(launcher).prefix(3) { stop(pid) } }
        guardians = children(of: child.pid).filter { !pids(launcher).contains($0) }
        killed = ContinuousClock.now
        child.signal(.kill)
    }
    #expect(launcher.ending == .killed(by: .kill))
    #expect(guardians.count == 1)
    #expect(pids(launcher).count == 6 && allGone(pids(launcher) + guardians, within: .seconds(20) - (ContinuousClock.now - killed)))
    return ContinuousClock.now - killed
}

/// Stops a process, and waits until it has stopped: until then another signal could overtake this one.
private func stop(_ pid: Int32) {
    kill(pid, SIGSTOP)
    let deadline = ContinuousClock.now + generousLimit
    while !read("/proc/\(pid)/stat").contains(") T"), ContinuousClock.now < deadline { usleep(1000) }
}

/// The processes that a process has started and that are still its own.
private func children(of pid: Int32) -> [Int32] {
    read("/proc/\(pid)/task/\(pid)/children").split(separator: " ").compactMap { Int32($0) }
}

private func read(_ path: String) -> String {
    guard let file = fopen(path, "r") else { return "" }
    defer { fclose(file) }
    var buffer = [UInt8](repeating: 0, count: 4096)
    let count = fread(&buffer, 1, buffer.count, file)
    return String(decoding: buffer[..<count], as: UTF8.self)
}

@Test func noProcessIsLeftAfterAnOrderlyEnd() throws {
    let launcher = RemoteLauncher()
    let folder = try TemporaryFolder()
    var started: [Int32] = []
    let script = "echo pid $$; while [ ! -e \(folder("seen")) ]; do sleep 0.02; done"
    try launcher.run(workers: 2, script: script) { _, child in
        guard launcher.lines.count == 2 else { return }
        started = children(of: child.pid)
        touch(folder("seen"))
    }
    #expect(started.count == 3 && launcher.ending == .exited(status: 0))
    #expect(allGone(started, within: .zero))
}

@Test func aSignalAfterTheEndDoesNotWaitForAReaderThatHasPaused() throws {
    let loop = try Loop()
    defer { loop.close() }
    // A megabyte: the launcher takes it all, so that the worker can end, but nobody takes it from the launcher.
    let folder = try TemporaryFolder()
    let script = "while [ ! -e \(folder("seen")) ]; do sleep 0.02; done; head -c 1000000 /dev/zero | tr '\\0' x | fold -w 100"
    var specification = ChildProcess.Specification(
        program: try probePath(), arguments: ["launch", "1", "1000", "/bin/sh", "-c", script])
    specification.output = .pipe
    var ending: ChildProcess.Ending?
    let child = try ChildProcess(loop: loop, specification) {
        ending = $0
        loop.stop()
    }
    var hasStarted = false
    var next = ContinuousClock.now
    let poll = try Timer(loop: loop) {
        let count = children(of: child.pid).count
        if !hasStarted, count == 2 {
            hasStarted = true
            touch(folder("seen"))
        }
        // Only the guardian is left. The first signal may come before the launcher has seen that; there is time for the next.
        guard hasStarted && count == 1, ContinuousClock.now > next else { return }
        next = .now + .milliseconds(500)
        child.signal(.interrupt)
    }
    poll.start(every: .milliseconds(5))
    let watchdog = try Timer(loop: loop) { loop.stop() }
    watchdog.start(after: generousLimit)
    loop.run()
    #expect(ending == .exited(status: 0))
    if ending == nil { child.signal(.kill) }
}
