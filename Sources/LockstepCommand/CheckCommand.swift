import ArgumentParser
import Lockstep

/// `lockstep check`.
struct CheckCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check", abstract: "Checks all-reduce against answers known exactly, over types, operations and lengths.",
        usage: "lockstep check [-n <workers>] [--largest <bytes>] [--seed <seed>]")

    @Option(name: [.customShort("n"), .long], parsing: .unconditional, help: "Workers on this host.")
    var workers = 4

    @Option(parsing: .unconditional, help: "The longest operation, in bytes; K, M and G for powers of 1024.")
    var largest = ByteCount(bytes: 4 << 20)

    @Option(parsing: .unconditional, help: "Seed of the random delays.")
    var seed: UInt64 = 1

    func validate() throws {
        if !(1...128).contains(workers) { throw ValidationError("-n is \(workers), which must be from 1 to 128.") }
    }

    func run() throws {
        try asWorker(workers: workers) { ring in
            let check = RingCheck(seed: seed, largestBytes: largest.bytes)
            var isRight = true
            if ring.rank == 0 { printOutput(row("workers", "type", "reduction", "operations", "elements", "wrong")) }
            for (kind, operation) in RingCheck.lines {
                let outcome = try check.run(kind, operation, on: ring)
                isRight = isRight && outcome.wrong == 0
                guard ring.rank == 0 else { continue }
                printOutput(
                    row(
                        "\(ring.worldSize)", outcome.type, outcome.operation, "\(outcome.operations)", "\(outcome.elements)",
                        "\(outcome.wrong)"))
                if let wrong = outcome.firstWrong {
                    printOutput(
                        "first wrong: rank \(wrong.rank), index \(wrong.index) of \(wrong.length): got \(wrong.got), expected \(wrong.expected)")
                }
            }
            if ring.rank == 0 { printOutput(isRight ? "all right: every element on every rank is what it must be" : "WRONG") }
            if !isRight { throw UsageError("elements are wrong: see the table") }
        }
    }

    private func row(_ cells: String...) -> String {
        cells.map { String(repeating: " ", count: max(0, 11 - $0.count)) + $0 }.joined()
    }
}

/// "4", "256K", "64M": bytes.
struct ByteCount: ExpressibleByArgument {
    let bytes: Int

    init(bytes: Int) {
        self.bytes = bytes
    }

    init?(argument: String) {
        let units: [Character: Int] = ["K": 10, "M": 20, "G": 30]
        let shift = argument.last.flatMap { units[Character($0.uppercased())] }
        guard let number = Int(shift == nil ? argument[...] : argument.dropLast()), number >= 0 else { return nil }
        let (bytes, overflow) = number.multipliedReportingOverflow(by: 1 << (shift ?? 0))
        guard !overflow, bytes <= 1 << 34 else { return nil }
        self.bytes = bytes
    }

    var defaultValueDescription: String { bytes % (1 << 20) == 0 ? "\(bytes >> 20)M" : "\(bytes)" }
}
