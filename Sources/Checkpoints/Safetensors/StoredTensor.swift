/// An element type of the safetensors format, by its name there.
///
/// The types below are all that the format has at present; a name that is none of them is a later format's, of which only
/// `SafetensorsReader(path:takesUnknownTypes:)` makes anything.
public struct StoredType: RawRepresentable, Sendable, Hashable {
    public let rawValue: String

    public init(rawValue: String) {
        self.rawValue = rawValue
    }

    /// Eight bytes, IEEE 754.
    public static let float64 = StoredType(rawValue: "F64")
    /// Four bytes, IEEE 754.
    public static let float32 = StoredType(rawValue: "F32")
    /// Two bytes, IEEE 754.
    public static let float16 = StoredType(rawValue: "F16")
    /// The upper two bytes of a float32.
    public static let bfloat16 = StoredType(rawValue: "BF16")
    /// Eight bytes, signed.
    public static let int64 = StoredType(rawValue: "I64")
    /// Four bytes, signed.
    public static let int32 = StoredType(rawValue: "I32")
    /// Two bytes, signed.
    public static let int16 = StoredType(rawValue: "I16")
    /// One byte, signed.
    public static let int8 = StoredType(rawValue: "I8")
    /// One byte, unsigned.
    public static let uint8 = StoredType(rawValue: "U8")
    /// One byte, 0 or 1.
    public static let bool = StoredType(rawValue: "BOOL")

    private static let bitCounts = [
        "F64": 64, "F32": 32, "F16": 16, "BF16": 16, "I64": 64, "I32": 32, "I16": 16, "I8": 8, "U64": 64, "U32": 32, "U16": 16, "U8": 8,
        "BOOL": 8, "C64": 64, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "F6_E2M3": 6, "F6_E3M2": 6,
        "F4": 4,
    ]

    /// The number of bits an element takes; nil for a type that is not known. Of less than 8, elements share bytes.
    public var bitCount: Int? { StoredType.bitCounts[rawValue] }
}

/// A tensor's name, type and shape: all of it but the numbers.
public struct TensorInfo: Sendable, Hashable {
    /// Its name in the file.
    public let name: String
    /// The type of its elements.
    public let type: StoredType
    /// Row-major, the slowest dimension first; empty for a scalar.
    public let shape: [Int]
    /// The product of the shape, times the size of an element.
    public let byteCount: Int

    /// The dimensions have to be at least 0, and their bytes to fit an `Int`.
    public init(name: String, type: StoredType, shape: [Int]) {
        guard let byteCount = TensorInfo.byteCount(of: type, shape: shape) else {
            preconditionFailure("tensor \"\(name)\" has the impossible shape \(shape)")
        }
        self.init(name: name, type: type, shape: shape, byteCount: byteCount)
    }

    init(name: String, type: StoredType, shape: [Int], byteCount: Int) {
        self.name = name
        self.type = type
        self.shape = shape
        self.byteCount = byteCount
    }

    /// The bytes of a tensor, or nil if the type is not known, a dimension is negative, the product does not fit, or the elements do
    /// not fill whole bytes.
    static func byteCount(of type: StoredType, shape: [Int]) -> Int? {
        guard let bits = type.bitCount else { return nil }
        let isWhole = bits.isMultiple(of: 8)
        guard let product = product(isWhole ? bits / 8 : bits, shape) else { return nil }
        return isWhole ? product : product.isMultiple(of: 8) ? product / 8 : nil
    }

    private static func product(_ first: Int, _ shape: [Int]) -> Int? {
        var product = first
        for dimension in shape {
            let (next, overflow) = product.multipliedReportingOverflow(by: dimension)
            if dimension < 0 || overflow { return nil }
            product = next
        }
        return product
    }
}

/// A tensor to be stored or digested: a view of memory that somebody else owns.
///
/// The bytes are the elements in row-major order, little-endian as in memory. The owner keeps them alive and unchanged
/// until the call that the view was made for returns; `TensorSnapshot` is an owner for work on another thread.
public struct StoredTensor {
    /// Name, type and shape.
    public let info: TensorInfo
    /// The elements, row-major and little-endian; borrowed.
    public let bytes: UnsafeRawBufferPointer

    /// `bytes` has to hold exactly what the type and the shape say.
    public init(name: String, type: StoredType, shape: [Int], bytes: UnsafeRawBufferPointer) {
        self.init(info: TensorInfo(name: name, type: type, shape: shape), bytes: bytes)
    }

    /// `bytes` has to hold exactly `info.byteCount` bytes.
    public init(info: TensorInfo, bytes: UnsafeRawBufferPointer) {
        precondition(
            bytes.count == info.byteCount,
            "tensor \"\(info.name)\" has \(bytes.count) bytes, its shape \(info.byteCount)")
        self.info = info
        self.bytes = bytes
    }
}

#if _endian(big)
#error("Tensors are written as they lie in memory, and the format is little-endian.")
#endif
