import ArgumentParser

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

    /// As it would be given: "256K".
    var text: String {
        for (unit, shift) in [("G", 30), ("M", 20), ("K", 10)] where bytes > 0 && bytes % (1 << shift) == 0 {
            return "\(bytes >> shift)\(unit)"
        }
        return "\(bytes)"
    }

    var defaultValueDescription: String { text }
}

/// "4,4K,256K": several of them.
struct ByteCounts: ExpressibleByArgument {
    let counts: [ByteCount]

    init(counts: [ByteCount]) {
        self.counts = counts
    }

    init?(argument: String) {
        let parts = argument.split(separator: ",", omittingEmptySubsequences: false)
        counts = parts.compactMap { ByteCount(argument: String($0)) }
        if counts.count != parts.count { return nil }
    }

    var defaultValueDescription: String { counts.map(\.text).joined(separator: ",") }
}
