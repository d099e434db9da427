/// The element types of the safetensors format that Lockstep reads and writes.
public enum StoredType: String, Sendable, Hashable, CaseIterable {
    case float64 = "F64"
    case float32 = "F32"
    case float16 = "F16"
    case bfloat16 = "BF16"
    case int64 = "I64"
    case int32 = "I32"
    case int16 = "I16"
    case int8 = "I8"
    case uint8 = "U8"
    case bool = "BOOL"

    /// The number of bytes an element takes.
    public var byteCount: Int {
        switch self {
        case .float64, .int64: 8
        case .float32, .int32: 4
        case .float16, .bfloat16, .int16: 2
        case .int8, .uint8, .bool: 1
        }
    }
}

/// A tensor's name, type and shape: all of it but the numbers.
public struct TensorInfo: Sendable, Hashable {
    public let name: String
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

    /// The bytes of a tensor, or nil if a dimension is negative or the product does not fit.
    static func byteCount(of type: StoredType, shape: [Int]) -> Int? {
        var product = type.byteCount
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
    public let info: TensorInfo
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
