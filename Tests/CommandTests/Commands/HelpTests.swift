import Glibc
import Testing

/// What the command says of itself, and in which number.
@Suite struct HelpTests {
    static let commands = [
        [], ["train"], ["train", "digits"], ["train", "mnist"], ["train", "cifar10"], ["train", "text"], ["run"], ["check"], ["bench"],
        ["generate"], ["eval"], ["export"], ["inspect"], ["scale"], ["status"],
    ]

    /// No line is longer than the terminal, and none ends where the next would have gone on: a paragraph is broken once.
    @Test(arguments: commands, [80, 120]) func helpIsBrokenOnce(command: [String], columns: Int) throws {
        let help = try startLockstep(command + ["--help"], environment: ["COLUMNS": "\(columns)"]).ended()
        #expect(help.status == 0 && help.errors.isEmpty)
        let lines = help.output.split(separator: "\n", omittingEmptySubsequences: false)
        for line in lines { #expect(line.count <= columns, "\(line)") }
        // The overview alone has paragraphs; examples in it stand on lines of their own.
        for (line, next) in zip(lines.prefix { !$0.hasPrefix("USAGE") }, lines.dropFirst()) {
            guard let word = next.split(separator: " ").first, !next.hasPrefix(" "), !HelpTests.isExample(line), !HelpTests.isExample(next)
            else { continue }
            #expect(line.count + 1 + word.count >= columns, "\(line)\n\(next)")
        }
    }

    private static func isExample(_ line: Substring) -> Bool {
        line.isEmpty || line.hasPrefix(" ") || line.hasPrefix("lockstep ") || line.hasPrefix("Unless given:")
    }

    /// A command that does nothing by itself: who has forgotten what it is to do is shown what there is, and a script hears of it.
    @Test(arguments: [[], ["train"]]) func whatIsMissingIsNoSuccess(command: [String]) throws {
        let ended = try startLockstep(command).ended()
        #expect(ended.status == 2 && ended.output.isEmpty, "\(ended)")
        #expect(ended.errors.hasPrefix("OVERVIEW: ") && ended.errors.contains("SUBCOMMANDS:"), "\(ended)")
        let asked = try startLockstep(command + ["--help"]).ended()
        #expect(asked.status == 0 && asked.output == ended.errors && asked.errors.isEmpty)
    }

    @Test func oneIsNoPlural() throws {
        let directory = try TemporaryDirectory()
        let task = ["train", "digits", "--hidden", "8", "--steps", "1", "--global-batch-size", "16", "--micro-batch-size", "16"]
        let run = try startLockstep(task + ["-n", "2", "--out", directory("run")]).ended()
        #expect(run.status == 0 && run.output.contains("1 step of 16 samples in 1 micro-batch of 16, 2 workers, "), "\(run.output)")
        #expect(run.errors.hasPrefix("lockstep: 1 of 2 workers has nothing to do: a step has 1 micro-batch; raise "), "\(run.errors)")
        let bench = try lockstep("bench", "-n", "1", "--sizes", "4K", "--rounds", "1")
        #expect(!(bench.output + bench.errors).contains("1 workers"), "\(bench.output)")
    }

    /// The first step of a process warms it up, and says nothing of the time that the others will take.
    @Test func theTimeLeftIsSaidWhenItIsKnown() throws {
        let run = try startLockstep(["train", "digits", "--hidden", "8", "--steps", "1000000"])
        #expect(wait { run.output.split(separator: "\n").count { $0.hasPrefix("step ") } >= 2 })
        kill(run.pid, SIGTERM)
        let ended = try run.ended()
        let steps = ended.lines.filter { $0.hasPrefix("step ") }
        #expect(steps.first?.contains("eta") == false && steps.dropFirst().first?.contains("  eta ") == true, "\(ended.output)")
    }
}
