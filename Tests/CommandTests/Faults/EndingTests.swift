import Glibc
import Testing

/// How a run ends that does not end by itself: by a signal to the launcher, or by a worker's death.
@Suite(.serialized) struct EndingTests {
    /// A run that would take for ever, in its steps, and the pids of its workers by rank.
    static func training(workers: Int, _ flags: [String] = []) throws -> (launcher: Started, pids: [Int32], all: [Int32]) {
        let launcher = try startLockstep(["train", "digits", "--hidden", "16", "--epochs", "1000000", "-n", "\(workers)"] + flags)
        try #require(wait { launcher.output.contains("step 1/") }, "\(launcher.output)\(launcher.errors)")
        let children = launcher.children
        let pids = (0..<workers).compactMap { rank in children.first { variable("RANK", of: $0) == "\(rank)" } }
        try #require(pids.count == workers)
        return (launcher, pids, children)
    }

    @Test(arguments: [SIGINT, SIGTERM])
    func aSignalEndsEveryWorker(signal: Int32) throws {
        let (launcher, pids, all) = try EndingTests.training(workers: 3)
        // The workers and their guardian.
        #expect(all.count == pids.count + 1)
        kill(launcher.pid, signal)
        #expect(try launcher.end() == 128 + signal)
        #expect(wait(for: .seconds(20)) { !all.contains(where: isAlive) })
        let lines = launcher.errors.split(separator: "\n")
        #expect(lines.count == 1 && lines[0].hasPrefix("lockstep: "), "\(launcher.errors)")
    }

    /// Without restarts, and with nobody left to go on.
    @Test func theLastWorkerToBeKilledIsNamedAndNothingIsLeft() throws {
        let (launcher, pids, all) = try EndingTests.training(workers: 3, ["--max-restarts", "0"])
        for pid in pids {
            #expect(launcher.killChild(pid))
            #expect(wait { !isAlive(pid) })
        }
        #expect(try launcher.end() == 137)
        #expect(wait(for: .seconds(20)) { !all.contains(where: isAlive) })
        for (rank, pid) in pids.enumerated() {
            let lines = launcher.errors.split(separator: "\n").filter { $0.hasPrefix("lockstep: rank \(rank) (pid \(pid)) was killed by SIGKILL") }
            #expect(lines.count == 1, "\(launcher.errors)")
        }
    }

    @Test func aKilledLauncherLeavesNothing() throws {
        let (launcher, _, all) = try EndingTests.training(workers: 3)
        kill(launcher.pid, SIGKILL)
        #expect(try launcher.end() == 137)
        #expect(wait(for: .seconds(20)) { !all.contains(where: isAlive) })
    }

    /// Threads of many runtimes block all signals, and what they start inherits that.
    @Test func aLauncherThatWasStartedWithItsSignalsBlocked() throws {
        let launcher = try Started(
            built("lockstep"), ["run", "-n", "2", "--", "sleep", "100"], blocksSignals: true)
        try #require(wait { launcher.children.count == 3 })
        kill(launcher.pid, SIGTERM)
        #expect(try launcher.end() == 143)
    }

    /// What `lockstep run` starts ends with the status of the worker that failed first.
    @Test func theStatusIsTheCulprits() throws {
        let script = "if [ $RANK = 1 ]; then echo what is wrong >&2; exit 7; fi; exec sleep 100"
        let run = try lockstep("run", "-n", "3", "--", "sh", "-c", script)
        #expect(run.status == 7)
        #expect(run.errorLines.first == "[1] what is wrong")
        #expect(run.errorLines.contains { $0.hasPrefix("lockstep: rank 1 (pid ") && $0.contains("exited with status 7") })
        #expect(run.errorLines.last == "    what is wrong")
    }
}
