extension Duration {
    /// Whole milliseconds, rounded up so that a timer never fires early; negative durations are 0. libuv counts in these.
    package var millisecondsRoundedUp: UInt64 {
        guard self > .zero else { return 0 }
        let (seconds, attoseconds) = components
        let (whole, overflow) = seconds.multipliedReportingOverflow(by: 1000)
        guard !overflow else { return UInt64(Int64.max) }
        let attosecondsPerMillisecond: Int64 = 1_000_000_000_000_000
        let rest = (attoseconds + attosecondsPerMillisecond - 1) / attosecondsPerMillisecond
        let (sum, carried) = whole.addingReportingOverflow(rest)
        return carried ? UInt64(Int64.max) : UInt64(sum)
    }

    /// Seconds as a floating-point number.
    package var seconds: Double {
        Double(components.seconds) + Double(components.attoseconds) * 1e-18
    }

    /// For messages: `0.4 s`, `12.0 s`.
    package var secondsText: String {
        let tenths = Int64((seconds * 10).rounded())
        return "\(tenths < 0 ? "-" : "")\(tenths.magnitude / 10).\(tenths.magnitude % 10) s"
    }
}
