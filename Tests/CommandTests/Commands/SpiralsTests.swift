import Glibc
import Testing

/// The README's trainer.
@Suite(.serialized) struct SpiralsTests {
    @Test func underTheLauncherItGivesTheDigestOfOneProcess() throws {
        let alone = try Started(built("Spirals"), []).ended()
        #expect(alone.status == 0 && alone.errors.isEmpty)
        let together = try lockstep("run", "-n", "3", "--", built("Spirals"))
        #expect(together.status == 0 && together.errors.isEmpty)
        #expect(together.lines.allSatisfy { $0.hasPrefix("[0] ") })
        #expect(together.lines.map { $0.dropFirst(4) } == alone.lines[...].map { $0[...] } && alone.digest != nil)
    }

    @Test func theREADMEShowsIt() throws {
        let blocks = contents(of: packageRoot + "/README.md").split(separator: "```swift\n").dropFirst().map { $0.split(separator: "```\n")[0] }
        let source = contents(of: packageRoot + "/Sources/Examples/Spirals/main.swift")
        #expect(blocks.first.map(String.init) == source)
        #expect(source.split(separator: "\n", omittingEmptySubsequences: false).dropLast().count <= 40)
    }
}

/// What programs of one's own print.
@Suite(.serialized) struct PrintTests {
    /// Swift prints through the C library, which keeps lines back where no terminal reads them: they would be lost with a worker that is
    /// killed. So it is with a whole worker, and with a program that makes its ring itself.
    @Test(arguments: ["worker", "ring"]) func whatAWorkerPrintsIsSeenBeforeItEnds(kind: String) throws {
        let run = try startLockstep(["run", "-n", "2", "--", built("Probe"), "print", kind])
        // It ends only when it is killed.
        #expect(wait { run.output.split(separator: "\n").count == 2 || !isAlive(run.pid) }, "\(run.output)\(run.errors)")
        for pid in run.children where variable("RANK", of: pid) != nil { kill(pid, SIGKILL) }
        let ended = try run.ended()
        #expect(ended.status == 137 && ended.lines.sorted() == ["[0] printed", "[1] printed"], "\(ended.output)\(ended.errors)")
    }
}
