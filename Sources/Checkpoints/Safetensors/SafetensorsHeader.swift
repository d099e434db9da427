/// The head of a safetensors file: which tensors it holds, and where.
///
/// A file is 8 bytes with the header's length N (little-endian), N bytes of JSON, and the tensors' bytes:
///
///     {"__metadata__": {"text": "text"}, "name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, ...}
///
/// Offsets count from the end of the header; the tensors cover the rest of the file without gap or overlap.
/// Source: the format's description in the README of huggingface/safetensors.
struct SafetensorsHeader: Equatable {
    /// The limit of the format's reference reader.
    static let greatestByteCount = 100_000_000
    static let lengthBytes = 8

    /// A tensor and where its bytes begin, counted from the end of the header.
    struct Place: Equatable {
        let info: TensorInfo
        let offset: Int
    }

    /// In the order of their bytes in the file.
    let places: [Place]
    let metadata: [String: String]

    /// Lays tensors out one after the other: larger elements first, so that each begins at a multiple of its element's
    /// size, and by name among equals, so that the order in which they are given makes no difference.
    init(laying tensors: [TensorInfo], metadata: [String: String]) {
        let sorted = tensors.sorted { left, right in
            if left.type.bitCount != right.type.bitCount { return left.type.bitCount ?? 0 > right.type.bitCount ?? 0 }
            return left.name.utf8.lexicographicallyPrecedes(right.name.utf8)
        }
        precondition(Set(tensors.map(\.name)).count == tensors.count, "two tensors have the same name")
        precondition(tensors.allSatisfy { $0.name != SafetensorsHeader.metadataKey }, "a tensor has a reserved name")
        var places: [Place] = []
        var end = 0
        for info in sorted {
            places.append(Place(info: info, offset: end))
            end += info.byteCount
        }
        self.places = places
        self.metadata = metadata
    }

    /// The length and the JSON, padded with spaces so that the tensors begin at a multiple of 64 bytes in the file.
    func serialized() -> [UInt8] {
        var json = "{"
        if !metadata.isEmpty {
            json += "\"\(SafetensorsHeader.metadataKey)\":\(JSONValue.object(metadata.mapValues(JSONValue.string)).serialized())"
        }
        for place in places {
            if json.utf8.count > 1 { json += "," }
            let entry: JSONValue = [
                "dtype": .string(place.info.type.rawValue),
                "shape": .array(place.info.shape.map(JSONValue.integer)),
                "data_offsets": [.integer(place.offset), .integer(place.offset + place.info.byteCount)],
            ]
            json += "\(JSONValue.string(place.info.name).serialized()):\(entry.serialized())"
        }
        json += "}"
        let alignment = 64
        let end = (SafetensorsHeader.lengthBytes + json.utf8.count + alignment - 1) / alignment * alignment
        json += String(repeating: " ", count: end - SafetensorsHeader.lengthBytes - json.utf8.count)
        precondition(json.utf8.count <= SafetensorsHeader.greatestByteCount, "a header of \(json.utf8.count) bytes")
        let length = UInt64(json.utf8.count)
        return (0..<8).map { UInt8(truncatingIfNeeded: length >> (8 * $0)) } + Array(json.utf8)
    }

    /// The header's length in a file that begins with `prefix`, which holds the first 8 bytes, and has `byteCount` in all.
    static func length(prefix: [UInt8], byteCount: Int) throws(SafetensorsFault) -> Int {
        guard prefix.count == lengthBytes else { throw .tooShort(byteCount: byteCount) }
        let length = prefix.reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        guard length <= UInt64(greatestByteCount) else { throw .headerTooLong(length) }
        guard Int(length) <= byteCount - lengthBytes else { throw .headerTooLong(length) }
        return Int(length)
    }

    /// Reads and checks a header. Nothing of it is believed before it is checked.
    ///
    /// - Parameters:
    ///   - json: the bytes after the length.
    ///   - dataBytes: the number of bytes that follow them in the file.
    ///   - takesUnknownTypes: whether the bytes of a type that is not known are believed to be as many as its offsets say.
    init(json: [UInt8], dataBytes: Int, takesUnknownTypes: Bool = false) throws(SafetensorsFault) {
        guard json.first == UInt8(ascii: "{") else { throw .header(reason: "it does not begin with a brace") }
        let members: [String: JSONValue]
        do {
            members = try JSONValue(parsing: json).object!
        } catch {
            throw .header(reason: error.description)
        }
        var metadata: [String: String] = [:]
        var places: [Place] = []
        for (name, value) in members {
            if name == SafetensorsHeader.metadataKey {
                metadata = try SafetensorsHeader.metadata(value)
            } else {
                places.append(try SafetensorsHeader.place(name: name, value: value, takesUnknownTypes))
            }
        }
        // Empty tensors share their offset with a neighbour; the name makes the order definite.
        places.sort { left, right in
            if left.offset != right.offset { return left.offset < right.offset }
            if left.info.byteCount != right.info.byteCount { return left.info.byteCount < right.info.byteCount }
            return left.info.name.utf8.lexicographicallyPrecedes(right.info.name.utf8)
        }
        try SafetensorsHeader.checkCoverage(places, dataBytes: dataBytes)
        self.places = places
        self.metadata = metadata
    }

    private static let metadataKey = "__metadata__"

    private static func metadata(_ value: JSONValue) throws(SafetensorsFault) -> [String: String] {
        guard let members = value.object else { throw .header(reason: "the metadata is not an object") }
        var metadata: [String: String] = [:]
        for (key, value) in members {
            guard let text = value.string else { throw .header(reason: "the metadata \"\(key)\" is not a string") }
            metadata[key] = text
        }
        return metadata
    }

    private static func place(name: String, value: JSONValue, _ takesUnknownTypes: Bool) throws(SafetensorsFault) -> Place {
        guard let members = value.object, Set(members.keys) == ["dtype", "shape", "data_offsets"] else {
            throw .tensor(name: name, reason: "its entry is not dtype, shape and data_offsets")
        }
        guard let typeName = members["dtype"]?.string else {
            throw .tensor(name: name, reason: "its type is not a string")
        }
        let type = StoredType(rawValue: typeName)
        guard takesUnknownTypes || type.bitCount != nil else {
            throw .tensor(name: name, reason: "the type \(typeName) is not known")
        }
        guard let shape = integers(members["shape"]) else { throw .tensor(name: name, reason: "its shape is impossible") }
        let promised = TensorInfo.byteCount(of: type, shape: shape)
        guard promised != nil || type.bitCount == nil, shape.allSatisfy({ $0 >= 0 }) else {
            throw .tensor(name: name, reason: "its shape is impossible")
        }
        guard let offsets = integers(members["data_offsets"]), offsets.count == 2,
            offsets[0] >= 0, offsets[1] >= offsets[0]
        else {
            throw .tensor(name: name, reason: "its offsets are impossible")
        }
        let byteCount = promised ?? offsets[1] - offsets[0]
        guard offsets[1] - offsets[0] == byteCount else {
            throw .tensor(
                name: name, reason: "its shape takes \(byteCount) bytes, its offsets \(offsets[1] - offsets[0])")
        }
        return Place(
            info: TensorInfo(name: name, type: type, shape: shape, byteCount: byteCount), offset: offsets[0])
    }

    private static func integers(_ value: JSONValue?) -> [Int]? {
        guard let elements = value?.array else { return nil }
        let integers = elements.compactMap(\.integer)
        return integers.count == elements.count ? integers : nil
    }

    private static func checkCoverage(_ places: [Place], dataBytes: Int) throws(SafetensorsFault) {
        var end = 0
        for place in places {
            if place.offset > end { throw .tensor(name: place.info.name, reason: "unused bytes come before it") }
            if place.offset < end { throw .tensor(name: place.info.name, reason: "it overlaps another tensor") }
            end += place.info.byteCount
            if end > dataBytes { throw .tensor(name: place.info.name, reason: "it reaches beyond the end of the file") }
        }
        if end < dataBytes { throw .trailingBytes(dataBytes - end) }
    }
}

/// How bytes break the safetensors format.
enum SafetensorsFault: Error {
    case tooShort(byteCount: Int)
    case headerTooLong(UInt64)
    case header(reason: String)
    case tensor(name: String, reason: String)
    case trailingBytes(Int)

    var description: String {
        switch self {
        case .tooShort(let byteCount): "it has only \(byteCount) bytes"
        case .headerTooLong(let length): "its header cannot have \(length) bytes"
        case .header(let reason): "in its header: \(reason)"
        case .tensor(let name, let reason): "tensor \"\(name)\": \(reason)"
        case .trailingBytes(let count): "\(count) bytes follow the last tensor"
        }
    }
}
