/// A JSON value: what a manifest and a safetensors header are made of, and how a recipe is kept.
///
/// Integers are exact over the whole range of `Int` and `UInt`, doubles are written with the fewest digits that read back
/// as the same double, and objects are written with their keys in order: equal values are equal bytes.
public enum JSONValue: Sendable, Hashable {
    /// `null`
    case null
    /// `true` or `false`
    case bool(Bool)
    /// A number without fraction and exponent that fits an `Int`.
    case integer(Int)
    /// A number without fraction and exponent from `Int.max + 1` to `UInt.max`, such as a seed.
    case unsigned(UInt)
    /// Any other number.
    case double(Double)
    /// A string, which has no escapes any more.
    case string(String)
    /// Values in their order.
    case array([JSONValue])
    /// Members by their names, each of which occurs once.
    case object([String: JSONValue])

    /// An integer of either kind; the case depends on the value alone.
    public init<Number: BinaryInteger>(integer: Number) {
        if let number = Int(exactly: integer) {
            self = .integer(number)
        } else if let number = UInt(exactly: integer) {
            self = .unsigned(number)
        } else {
            self = .double(Double(integer))
        }
    }

    /// The member of an object, or nil if there is none or this is not an object.
    public subscript(key: String) -> JSONValue? {
        if case .object(let members) = self { members[key] } else { nil }
    }

    /// The integer, or nil if this is anything else.
    public var integer: Int? {
        if case .integer(let number) = self { number } else { nil }
    }

    /// Any number as the nearest double, or nil if this is not a number.
    public var double: Double? {
        switch self {
        case .integer(let number): Double(number)
        case .unsigned(let number): Double(number)
        case .double(let number): number
        default: nil
        }
    }

    /// The string, or nil if this is anything else.
    public var string: String? {
        if case .string(let text) = self { text } else { nil }
    }

    /// The truth value, or nil if this is anything else.
    public var bool: Bool? {
        if case .bool(let value) = self { value } else { nil }
    }

    /// The elements, or nil if this is not an array.
    public var array: [JSONValue]? {
        if case .array(let elements) = self { elements } else { nil }
    }

    /// The members, or nil if this is not an object.
    public var object: [String: JSONValue]? {
        if case .object(let members) = self { members } else { nil }
    }
}

extension JSONValue: ExpressibleByStringLiteral, ExpressibleByIntegerLiteral, ExpressibleByFloatLiteral,
    ExpressibleByBooleanLiteral, ExpressibleByArrayLiteral, ExpressibleByDictionaryLiteral, ExpressibleByNilLiteral
{
    public init(stringLiteral value: String) { self = .string(value) }
    public init(integerLiteral value: Int) { self = .integer(value) }
    public init(floatLiteral value: Double) { self = .double(value) }
    public init(booleanLiteral value: Bool) { self = .bool(value) }
    public init(arrayLiteral elements: JSONValue...) { self = .array(elements) }
    public init(dictionaryLiteral elements: (String, JSONValue)...) {
        self = .object(Dictionary(uniqueKeysWithValues: elements))
    }
    public init(nilLiteral: ()) { self = .null }
}
