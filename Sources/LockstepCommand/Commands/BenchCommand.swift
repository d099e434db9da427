import ArgumentParser
import Lockstep
import RingDiagnostics

/// `lockstep bench`.
struct BenchCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bench", abstract: "Times all-reduce and its kin, beside raw sockets on the same path.",
        usage: "lockstep bench [-n <workers>] [<options>]",
        discussion: """
            lockstep bench -n 4
            lockstep bench -n 2 --reduction exact --sizes 64M --rounds 20

            Between hosts, on each: RANK=0 WORLD_SIZE=2 MASTER_ADDR=10.0.0.1 MASTER_PORT=29500 LOCKSTEP_SECRET=... lockstep bench

            time: microseconds of an operation in the median round, a round being as slow as its slowest rank; min likewise; p99 of single \
            operations. Up to 16K a round is 20 operations one after the other, beyond it is one. algbw = bytes / \
            time; busbw = algbw times 2 (n - 1) / n for all-reduce, (n - 1) / n for reduce-scatter and all-gather, 1 for broadcast: \
            what each link carries. raw: the same hops over plain sockets between the same ranks, adding float32, with no checks; \
            of raw: its time over ours, 1.00 being all that the network gives.
            """)

    @Option(name: [.customShort("n"), .long], help: "Workers on this host.")
    var workers = 2

    @Option(help: "Bytes of the array on each rank, with commas between; K, M and G for powers of 1024.")
    var sizes = ByteCounts(counts: [4, 4 << 10, 256 << 10, 4 << 20, 64 << 20].map(ByteCount.init(bytes:)))

    @Option(help: "What to time: \(BenchOperation.allCases.map(\.rawValue).joined(separator: ", ")).")
    var operation = BenchOperation.allReduce

    @Option(
        help: """
            fp32; exact: carriers as a training step has them, accumulated beforehand; exact-values: the whole call on float32; \
            bf16: bfloat16 elements.
            """)
    var reduction = BenchReduction.fp32

    @Option(help: "Rounds for each size; unless given 100 up to 16K, 200 up to 256K, 30 up to 4M, 10 beyond.")
    var rounds: Int?

    @Flag(help: "One JSON object a size instead of the table.")
    var json = false

    func validate() throws {
        if !(2...128).contains(workers) {
            throw ValidationError("-n is \(workers), which must be from 2 to 128: a worker alone has nothing to send.")
        }
        if let rounds, !(1...1_000_000).contains(rounds) {
            throw ValidationError("--rounds is \(rounds), which must be from 1 to 1000000.")
        }
        if !reduction.isPossible(operation) {
            throw ValidationError("--reduction \(reduction.rawValue) is for --operation all-reduce only.")
        }
        if let small = sizes.counts.first(where: { $0.bytes < reduction.elementBytes }), operation != .barrier {
            throw ValidationError("--sizes has \(small.bytes), which is less than one element of \(reduction.elementBytes) bytes.")
        }
    }

    func run() throws {
        try asWorker(workers: workers) { ring in
            guard ring.worldSize > 1 else { throw UsageError("WORLD_SIZE is 1: a worker alone has nothing to send") }
            let bench = try Bench(ring: ring, environment: .current())
            var isRight = true
            if ring.rank == 0, !json { BenchTable.printHead(operation, reduction, worldSize: ring.worldSize) }
            for size in operation == .barrier ? [ByteCount(bytes: 0)] : sizes.counts {
                let line = try bench.run(operation, reduction, bytes: size.bytes, rounds: rounds)
                isRight = isRight && line.wrong == 0
                if ring.rank == 0 { json ? BenchTable.printJSON(line) : BenchTable.print(line) }
            }
            if !isRight { throw UsageError("elements are wrong: see the column #wrong") }
        }
    }
}

extension BenchOperation: ExpressibleByArgument {}
extension BenchReduction: ExpressibleByArgument {}
