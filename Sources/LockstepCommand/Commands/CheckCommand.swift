import ArgumentParser
import Lockstep
import RingDiagnostics

/// `lockstep check`.
struct CheckCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check", abstract: "Checks all-reduce and its kin against answers known exactly.",
        usage: "lockstep check [-n <workers>] [--largest <bytes>] [--seed <seed>]",
        discussion: """
            lockstep check -n 4
            lockstep check -n 1...16 --largest 64M

            Every element on every rank is compared with ==, over types, reductions and lengths from nothing to --largest, with random \
            delays and several operations under way. Ends with status 1 if any is wrong.

            Between hosts, on each: RANK=0 WORLD_SIZE=2 MASTER_ADDR=10.0.0.1 MASTER_PORT=29500 LOCKSTEP_SECRET=... lockstep check
            """)

    @Option(name: [.customShort("n"), .long], parsing: .unconditional, help: "Workers on this host; several numbers, 1,2,4 or 1...16, are several worlds, one after another.")
    var workers = WorldSizes(sizes: [4])

    @Option(parsing: .unconditional, help: "The longest operation, in bytes; K, M and G for powers of 1024.")
    var largest = ByteCount(bytes: 4 << 20)

    @Option(parsing: .unconditional, help: "Seed of the random delays and numbers.")
    var seed: UInt64 = 1

    /// Set by the command that launches a world, which prints head and verdict itself.
    @Flag(help: .hidden)
    var linesOnly = false

    func validate() throws {
        if let size = workers.sizes.first(where: { !(1...128).contains($0) }) {
            throw ValidationError("-n has \(size), which must be from 1 to 128.")
        }
    }

    func run() throws {
        let environment = try WorkerEnvironment.current()
        guard environment.isAlone else {
            runWorker { ring in
                let prints = ring.rank == 0 && !linesOnly
                if prints { printHead() }
                let isRight = try check(ring)
                if prints { printVerdict(isRight ? 0 : 1) }
                if !isRight { throw UsageError("elements are wrong: see the table") }
            }
        }
        printHead()
        for size in workers.sizes {
            let status = try Launch.ofThisProgram(workers: size, furtherArguments: ["--lines-only"]).run()
            if status != 0 {
                printVerdict(status)
                throw ExitStatus(status: status)
            }
        }
        printVerdict(0)
    }

    /// Runs all lines on this rank; rank 0 prints them.
    private func check(_ ring: Ring) throws -> Bool {
        let check = RingCheck(seed: seed, largestBytes: largest.bytes)
        var isRight = true
        for (kind, operation) in RingCheck.lines {
            let outcome = try check.run(kind, operation, on: ring)
            isRight = isRight && outcome.wrong == 0
            guard ring.rank == 0 else { continue }
            printOutput(
                row(
                    "\(ring.worldSize)", outcome.operation, outcome.type, outcome.reduction, "\(outcome.operations)",
                    "\(outcome.elements)", "\(outcome.wrong)"))
            if let wrong = outcome.firstWrong {
                printOutput(
                    "first wrong: rank \(wrong.rank), index \(wrong.index) of \(wrong.length): got \(wrong.got), expected \(wrong.expected)")
            }
        }
        return isRight
    }

    private func printHead() {
        printOutput(row("workers", "operation", "type", "reduction", "operations", "elements", "#wrong"))
    }

    /// - Parameter status: what the last world ended with.
    private func printVerdict(_ status: Int32) {
        switch status {
        case 0: printOutput("all right: every element on every rank is what it must be")
        case 128...: printOutput("stopped before the end: the lines above are all that was checked")
        default: printOutput("NOT RIGHT: see above")
        }
    }

    private func row(_ cells: String...) -> String {
        zip(cells, [7, 16, 10, 11, 12, 12, 8]).map { String(repeating: " ", count: max(1, $1 - $0.count)) + $0 }.joined()
    }
}

/// "4", "1,2,4", "1...16": sizes of worlds.
struct WorldSizes: ExpressibleByArgument {
    let sizes: [Int]
    private static let most = 65_536

    init(sizes: [Int]) {
        self.sizes = sizes
    }

    init?(argument: String) {
        var sizes: [Int] = []
        for part in argument.split(separator: ",", omittingEmptySubsequences: false) {
            if let size = Int(part) {
                sizes.append(size)
            } else {
                let ends = part.split(separator: ".", omittingEmptySubsequences: false)
                guard ends.count == 4, ends[1].isEmpty, ends[2].isEmpty, let first = Int(ends[0]), let last = Int(ends[3]),
                    first >= 0, last >= first, last <= WorldSizes.most
                else { return nil }
                sizes += first...last
            }
        }
        self.sizes = sizes
    }

    var defaultValueDescription: String { sizes.map { "\($0)" }.joined(separator: ",") }
}
