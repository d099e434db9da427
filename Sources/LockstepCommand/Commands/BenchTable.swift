import Lockstep
import RingDiagnostics

/// The output of `lockstep bench`: a table for people, or a JSON object a line.
enum BenchTable {
    private static let columns: [(title: String, unit: String, width: Int)] = [
        ("bytes", "", 11), ("count", "", 11), ("type", "", 10), ("reduction", "", 13), ("time", "us", 11), ("min", "us", 11),
        ("p99", "us", 11), ("algbw", "GB/s", 8), ("busbw", "GB/s", 8), ("#wrong", "", 8), ("raw time", "us", 11),
        ("raw busbw", "GB/s", 11), ("of raw", "", 8),
    ]

    static func printHead(_ operation: BenchOperation, _ reduction: BenchReduction, worldSize: Int) {
        printOutput("\(operation.rawValue), \(count(worldSize, "worker")); medians of rounds, each as slow as its slowest rank")
        printRow(columns.map(\.title))
        printRow(columns.map(\.unit))
    }

    static func print(_ line: BenchLine) {
        let isReduction = line.operation == .allReduce || line.operation == .reduceScatter
        printRow([
            "\(line.bytes)", "\(line.count)", line.operation == .barrier ? "-" : line.reduction.typeName,
            isReduction ? line.reduction.rawValue : "-", fixed(line.times.median, 1), fixed(line.times.least, 1),
            fixed(line.times.percentile99, 1), fixed(line.algorithmBandwidth, 3), fixed(line.busBandwidth, 3), "\(line.wrong)",
            fixed(line.raw.median, 1), fixed(line.rawBusBandwidth, 3), fixed(line.shareOfRaw, 2),
        ])
    }

    static func printJSON(_ line: BenchLine) {
        let fields = [
            "\"operation\": \"\(line.operation.rawValue)\"", "\"reduction\": \"\(line.reduction.rawValue)\"",
            "\"workers\": \(line.worldSize)", "\"bytes\": \(line.bytes)", "\"us\": \(fixed(line.times.median, 1))",
            "\"min_us\": \(fixed(line.times.least, 1))", "\"p99_us\": \(fixed(line.times.percentile99, 1))",
            "\"busbw_GBs\": \(fixed(line.busBandwidth, 3))", "\"raw_us\": \(fixed(line.raw.median, 1))",
            "\"raw_busbw_GBs\": \(fixed(line.rawBusBandwidth, 3))", "\"wrong\": \(line.wrong)",
        ]
        printOutput("{\(fields.joined(separator: ", "))}")
    }

    private static func printRow(_ cells: [String]) {
        printOutput(zip(cells, columns).map { String(repeating: " ", count: max(1, $1.width - $0.count)) + $0 }.joined())
    }

    /// With this many digits after the point. What is measured here is positive and far below 2^63.
    private static func fixed(_ value: Double, _ digits: Int) -> String {
        let scale = (0..<digits).reduce(1) { scale, _ in scale * 10 }
        let number = Int((value * Double(scale)).rounded())
        let fraction = String(number % scale)
        return "\(number / scale)." + String(repeating: "0", count: digits - fraction.count) + fraction
    }
}
