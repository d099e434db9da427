extension JSONValue {
    /// The value as an instance of a type, by its `Decodable` conformance: the inverse of `init(encoding:)`.
    ///
    /// Members that the type does not ask for are passed over.
    /// - Throws: `CheckpointError.unfitJSON` that names the member that is missing or of the wrong kind.
    public func decoded<Value: Decodable>(as type: Value.Type) throws(CheckpointError) -> Value {
        do {
            return try ValueDecoder(value: self, codingPath: []).decode(type)
        } catch let error as DecodingError {
            throw .unfitJSON(reason: JSONValue.describe(error))
        } catch {
            throw .unfitJSON(reason: "\(error)")
        }
    }

    private static func describe(_ error: DecodingError) -> String {
        switch error {
        case .keyNotFound(let key, let context):
            "\((context.codingPath + [key]).spelled) is missing"
        case .typeMismatch(_, let context), .valueNotFound(_, let context), .dataCorrupted(let context):
            "\(context.codingPath.spelled): \(context.debugDescription)"
        @unknown default:
            "\(error)"
        }
    }
}

private struct ValueDecoder: Decoder {
    let value: JSONValue
    let codingPath: [any CodingKey]
    var userInfo: [CodingUserInfoKey: Any] { [:] }

    func decode<Value: Decodable>(_ type: Value.Type) throws -> Value {
        switch type {
        case is JSONValue.Type: return value as! Value
        case is Bool.Type: return try expect(value.bool as! Value?, "true or false")
        case is String.Type: return try expect(value.string as! Value?, "a string")
        case is Double.Type: return try expect(value.double as! Value?, "a number")
        case is Float.Type: return try expect(value.double.map { Float($0) } as! Value?, "a number")
        case let type as any FixedWidthInteger.Type:
            return try expect(value.exactly(type) as! Value?, "an integer that fits \(type)")
        default: return try Value(from: self)
        }
    }

    func container<Key: CodingKey>(keyedBy type: Key.Type) throws -> KeyedDecodingContainer<Key> {
        KeyedDecodingContainer(Keyed(members: try expect(value.object, "an object"), codingPath: codingPath))
    }

    func unkeyedContainer() throws -> any UnkeyedDecodingContainer {
        Unkeyed(elements: try expect(value.array, "an array"), codingPath: codingPath)
    }

    func singleValueContainer() -> any SingleValueDecodingContainer {
        Single(decoder: self)
    }

    private func expect<Value>(_ value: Value?, _ kind: String) throws -> Value {
        if let value { return value }
        throw DecodingError.typeMismatch(
            Value.self, .init(codingPath: codingPath, debugDescription: "\(kind) should be here"))
    }

    // The generic `decode` of each container stands in for those of the single types: `ValueDecoder.decode` tells them
    // apart.

    struct Single: SingleValueDecodingContainer {
        let decoder: ValueDecoder
        var codingPath: [any CodingKey] { decoder.codingPath }

        func decodeNil() -> Bool { decoder.value == .null }
        func decode<Value: Decodable>(_ type: Value.Type) throws -> Value { try decoder.decode(type) }
    }

    struct Unkeyed: UnkeyedDecodingContainer {
        let elements: [JSONValue]
        let codingPath: [any CodingKey]
        var currentIndex = 0
        var count: Int? { elements.count }
        var isAtEnd: Bool { currentIndex == elements.count }

        init(elements: [JSONValue], codingPath: [any CodingKey]) {
            self.elements = elements
            self.codingPath = codingPath
        }

        mutating func decodeNil() throws -> Bool {
            guard try peek().value == .null else { return false }
            currentIndex += 1
            return true
        }
        mutating func decode<Value: Decodable>(_ type: Value.Type) throws -> Value {
            let value = try peek().decode(type)
            currentIndex += 1
            return value
        }
        mutating func nestedContainer<Key: CodingKey>(keyedBy type: Key.Type) throws -> KeyedDecodingContainer<Key> {
            let container = try peek().container(keyedBy: type)
            currentIndex += 1
            return container
        }
        mutating func nestedUnkeyedContainer() throws -> any UnkeyedDecodingContainer {
            let container = try peek().unkeyedContainer()
            currentIndex += 1
            return container
        }
        mutating func superDecoder() throws -> any Decoder {
            let decoder = try peek()
            currentIndex += 1
            return decoder
        }

        private func peek() throws -> ValueDecoder {
            let path = codingPath + [JSONKey(currentIndex)]
            guard !isAtEnd else {
                throw DecodingError.valueNotFound(
                    JSONValue.self, .init(codingPath: path, debugDescription: "another element should be here"))
            }
            return ValueDecoder(value: elements[currentIndex], codingPath: path)
        }
    }

    struct Keyed<Key: CodingKey>: KeyedDecodingContainerProtocol {
        let members: [String: JSONValue]
        let codingPath: [any CodingKey]
        var allKeys: [Key] { members.keys.compactMap(Key.init(stringValue:)) }

        func contains(_ key: Key) -> Bool { members[key.stringValue] != nil }
        func decodeNil(forKey key: Key) throws -> Bool { try decoder(key).value == .null }
        func decode<Value: Decodable>(_ type: Value.Type, forKey key: Key) throws -> Value {
            try decoder(key).decode(type)
        }
        func nestedContainer<Nested: CodingKey>(
            keyedBy type: Nested.Type, forKey key: Key
        ) throws -> KeyedDecodingContainer<Nested> {
            try decoder(key).container(keyedBy: type)
        }
        func nestedUnkeyedContainer(forKey key: Key) throws -> any UnkeyedDecodingContainer {
            try decoder(key).unkeyedContainer()
        }
        func superDecoder() throws -> any Decoder { try decoder(JSONKey("super")) }
        func superDecoder(forKey key: Key) throws -> any Decoder { try decoder(key) }

        private func decoder(_ key: any CodingKey) throws -> ValueDecoder {
            guard let value = members[key.stringValue] else {
                throw DecodingError.keyNotFound(key, .init(codingPath: codingPath, debugDescription: "missing"))
            }
            return ValueDecoder(value: value, codingPath: codingPath + [key])
        }
    }
}

extension JSONValue {
    /// The integer as a type that holds it, or nil. A double is no integer, whatever its value.
    fileprivate func exactly<Number: FixedWidthInteger>(_ type: Number.Type) -> Number? {
        switch self {
        case .integer(let number): Number(exactly: number)
        case .unsigned(let number): Number(exactly: number)
        default: nil
        }
    }
}

/// A recipe may hold JSON of any kind as a member of its own.
extension JSONValue: Codable {
    public init(from decoder: any Decoder) throws {
        guard let decoder = decoder as? ValueDecoder else {
            throw DecodingError.dataCorrupted(
                .init(codingPath: decoder.codingPath, debugDescription: "use JSONValue.decoded(as:)"))
        }
        self = decoder.value
    }

    public func encode(to encoder: any Encoder) throws {
        switch self {
        case .null:
            var container = encoder.singleValueContainer()
            try container.encodeNil()
        case .bool(let value): try value.encode(to: encoder)
        case .integer(let number): try number.encode(to: encoder)
        case .unsigned(let number): try number.encode(to: encoder)
        case .double(let number): try number.encode(to: encoder)
        case .string(let text): try text.encode(to: encoder)
        case .array(let elements): try elements.encode(to: encoder)
        case .object(let members): try members.encode(to: encoder)
        }
    }
}
