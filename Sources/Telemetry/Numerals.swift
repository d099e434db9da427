/// Numbers as people read them, in a fixed form that no locale changes.
public enum Numerals {
    /// Rounded to `digits` significant digits, plain where that is short and with an exponent otherwise: 0.3124, 14.20,
    /// 1234, 1.234e-5, 1.234e7. Zero is "0"; NaN and infinities are "nan", "inf" and "-inf".
    public static func significant(_ value: Double, digits: Int) -> String {
        guard let decimal = Decimal(value, digits: digits) else { return special(value) }
        return (-4...6).contains(decimal.exponent) ? decimal.plain : decimal.scientific
    }

    /// Rounded to `digits` significant digits, with an exponent: 9.8e-3, 1.0e0. Zero is "0".
    public static func scientific(_ value: Double, digits: Int) -> String {
        Decimal(value, digits: digits)?.scientific ?? special(value)
    }

    /// Three significant digits, and k, M, G or T for the power of a thousand: "14.2 k", "3.00 M", "812".
    public static func scaled(_ value: Double) -> String {
        guard var decimal = Decimal(value, digits: 3) else { return special(value) }
        let step = min(max(decimal.exponent, 0) / 3, scales.count - 1)
        decimal.exponent -= 3 * step
        return step == 0 ? decimal.plain : "\(decimal.plain) \(scales[step])"
    }

    /// A time in the one or two greatest units that matter: "0.4 s", "12 s", "3 min 20 s", "2 h 5 min", "4 d 3 h".
    public static func duration(seconds: Double) -> String {
        guard seconds.isFinite, seconds < 1e15 else { return "?" }
        if seconds < 0.95 { return "0.\(Int((max(0, seconds) * 10).rounded())) s" }
        let whole = Int(seconds.rounded())
        if whole < 60 { return "\(whole) s" }
        if whole < 3600 { return "\(whole / 60) min \(whole % 60) s" }
        let minutes = (whole + 30) / 60
        if minutes < 24 * 60 { return "\(minutes / 60) h \(minutes % 60) min" }
        let hours = (minutes + 30) / 60
        return "\(hours / 24) d \(hours % 24) h"
    }

    private static let scales = ["", "k", "M", "G", "T"]

    private static func special(_ value: Double) -> String {
        if value == 0 { return "0" }
        return value.isNaN ? "nan" : value < 0 ? "-inf" : "inf"
    }
}

/// A number other than zero in decimal, rounded to some digits: ±d.ddd * 10^exponent.
private struct Decimal {
    let isNegative: Bool
    /// The first is not 0.
    let digits: String
    var exponent: Int

    /// Rounds half away from zero, starting from the shortest decimal that reads back as `value`: what a person who sees
    /// that decimal would do. Nil for zero, NaN and infinities.
    init?(_ value: Double, digits count: Int) {
        precondition((1...17).contains(count), "\(count) digits")
        guard value.isFinite, value != 0 else { return nil }
        // The description is "12.5", "0.0098", "9.8e-05" or "1e+16".
        let parts = value.magnitude.description.split(separator: "e")
        let mantissa = parts[0].split(separator: ".", omittingEmptySubsequences: false)
        let written = parts.count == 2 ? Int(parts[1])! : 0
        let all = mantissa.joined().map { $0.wholeNumberValue! }
        let zeros = all.prefix { $0 == 0 }.count
        var exponent = mantissa[0].count - 1 - zeros + written
        let significant = all.dropFirst(zeros) + Array(repeating: 0, count: count + 1)
        var number = significant.prefix(count).reduce(0) { $0 * 10 + $1 }
        if significant[significant.startIndex + count] >= 5 { number += 1 }
        var text = String(number)
        // 9.996 to three digits is 10.0, of which one digit is too many.
        if text.count > count {
            text.removeLast()
            exponent += 1
        }
        self.isNegative = value < 0
        self.digits = text
        self.exponent = exponent
    }

    var plain: String {
        var text = digits
        if exponent < 0 {
            text = "0." + String(repeating: "0", count: -exponent - 1) + text
        } else if exponent >= digits.count - 1 {
            text += String(repeating: "0", count: exponent - digits.count + 1)
        } else {
            text.insert(".", at: text.index(text.startIndex, offsetBy: exponent + 1))
        }
        return (isNegative ? "-" : "") + text
    }

    var scientific: String {
        var text = digits
        if digits.count > 1 { text.insert(".", at: text.index(after: text.startIndex)) }
        return "\(isNegative ? "-" : "")\(text)e\(exponent)"
    }
}
