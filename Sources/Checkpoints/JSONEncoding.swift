extension JSONValue {
    /// The value that a type's `Encodable` conformance describes, such as a trainer's recipe.
    ///
    /// Integers and finite doubles are exact; an optional that is nil is left out, as synthesised conformances do.
    /// - Throws: `CheckpointError.unfitJSON` for NaN and infinities, which JSON lacks, and whatever the conformance refuses.
    public init(encoding value: some Encodable) throws(CheckpointError) {
        let node = EncodedNode()
        do {
            try node.encode(value, path: [])
        } catch let error as EncodingError {
            guard case .invalidValue(_, let context) = error else { throw .unfitJSON(reason: "\(error)") }
            throw .unfitJSON(reason: "\(context.codingPath.spelled): \(context.debugDescription)")
        } catch {
            throw .unfitJSON(reason: "\(error)")
        }
        self = node.value
    }
}

/// A value in the making. Containers of one value share its node.
private final class EncodedNode {
    private enum Contents {
        case none
        case single(JSONValue)
        case array([EncodedNode])
        case object([String: EncodedNode])
    }

    private var contents = Contents.none

    /// What became of the node; a value that encoded nothing is an empty object.
    var value: JSONValue {
        switch contents {
        case .none: .object([:])
        case .single(let value): value
        case .array(let nodes): .array(nodes.map(\.value))
        case .object(let nodes): .object(nodes.mapValues(\.value))
        }
    }

    var count: Int {
        if case .array(let nodes) = contents { nodes.count } else { 0 }
    }

    func beginArray() {
        if case .array = contents { return }
        contents = .array([])
    }

    func beginObject() {
        if case .object = contents { return }
        contents = .object([:])
    }

    func set(_ value: JSONValue) {
        contents = .single(value)
    }

    func append() -> EncodedNode {
        let node = EncodedNode()
        guard case .array(var nodes) = contents else { preconditionFailure("not an array") }
        nodes.append(node)
        contents = .array(nodes)
        return node
    }

    func member(_ key: String) -> EncodedNode {
        let node = EncodedNode()
        guard case .object(var nodes) = contents else { preconditionFailure("not an object") }
        nodes[key] = node
        contents = .object(nodes)
        return node
    }

    func encode<Value: Encodable>(_ value: Value, path: [any CodingKey]) throws {
        switch value {
        case let value as JSONValue: set(value)
        case let value as Bool: set(.bool(value))
        case let value as String: set(.string(value))
        case let value as any BinaryInteger: set(JSONValue(integer: value))
        case let value as Double: set(try finite(value, path))
        case let value as Float: set(try finite(Double(value), path))
        default: try value.encode(to: NodeEncoder(node: self, codingPath: path))
        }
    }

    private func finite(_ value: Double, _ path: [any CodingKey]) throws -> JSONValue {
        guard value.isFinite else {
            throw EncodingError.invalidValue(
                value, .init(codingPath: path, debugDescription: "\(value) cannot be kept as JSON"))
        }
        return .double(value)
    }
}

private struct NodeEncoder: Encoder {
    let node: EncodedNode
    let codingPath: [any CodingKey]
    var userInfo: [CodingUserInfoKey: Any] { [:] }

    func container<Key: CodingKey>(keyedBy type: Key.Type) -> KeyedEncodingContainer<Key> {
        node.beginObject()
        return KeyedEncodingContainer(Keyed(node: node, codingPath: codingPath))
    }

    func unkeyedContainer() -> any UnkeyedEncodingContainer {
        node.beginArray()
        return Unkeyed(node: node, codingPath: codingPath)
    }

    func singleValueContainer() -> any SingleValueEncodingContainer {
        Single(node: node, codingPath: codingPath)
    }

    // The generic `encode` of each container stands in for those of the single types: `EncodedNode.encode` tells them
    // apart.

    struct Single: SingleValueEncodingContainer {
        let node: EncodedNode
        let codingPath: [any CodingKey]

        mutating func encodeNil() { node.set(.null) }
        mutating func encode<Value: Encodable>(_ value: Value) throws { try node.encode(value, path: codingPath) }
    }

    struct Unkeyed: UnkeyedEncodingContainer {
        let node: EncodedNode
        let codingPath: [any CodingKey]
        var count: Int { node.count }
        private var path: [any CodingKey] { codingPath + [JSONKey(node.count)] }

        mutating func encodeNil() { node.append().set(.null) }
        mutating func encode<Value: Encodable>(_ value: Value) throws {
            let path = path
            try node.append().encode(value, path: path)
        }
        mutating func nestedContainer<Key: CodingKey>(keyedBy type: Key.Type) -> KeyedEncodingContainer<Key> {
            let path = path
            return NodeEncoder(node: node.append(), codingPath: path).container(keyedBy: type)
        }
        mutating func nestedUnkeyedContainer() -> any UnkeyedEncodingContainer {
            let path = path
            return NodeEncoder(node: node.append(), codingPath: path).unkeyedContainer()
        }
        mutating func superEncoder() -> any Encoder {
            let path = path
            return NodeEncoder(node: node.append(), codingPath: path)
        }
    }

    struct Keyed<Key: CodingKey>: KeyedEncodingContainerProtocol {
        let node: EncodedNode
        let codingPath: [any CodingKey]

        mutating func encodeNil(forKey key: Key) { node.member(key.stringValue).set(.null) }
        mutating func encode<Value: Encodable>(_ value: Value, forKey key: Key) throws {
            try node.member(key.stringValue).encode(value, path: codingPath + [key])
        }
        mutating func nestedContainer<Nested: CodingKey>(
            keyedBy type: Nested.Type, forKey key: Key
        ) -> KeyedEncodingContainer<Nested> {
            encoder(key).container(keyedBy: type)
        }
        mutating func nestedUnkeyedContainer(forKey key: Key) -> any UnkeyedEncodingContainer {
            encoder(key).unkeyedContainer()
        }
        mutating func superEncoder() -> any Encoder { encoder(JSONKey("super")) }
        mutating func superEncoder(forKey key: Key) -> any Encoder { encoder(key) }

        private func encoder(_ key: any CodingKey) -> NodeEncoder {
            NodeEncoder(node: node.member(key.stringValue), codingPath: codingPath + [key])
        }
    }
}

/// A key for what has none of its own: an array's element, or `super`.
struct JSONKey: CodingKey {
    let stringValue: String
    let intValue: Int?

    init(_ index: Int) {
        stringValue = String(index)
        intValue = index
    }

    init(_ name: String) {
        stringValue = name
        intValue = nil
    }

    init?(stringValue: String) { self.init(stringValue) }
    init?(intValue: Int) { self.init(intValue) }
}

extension [any CodingKey] {
    /// The place in a value, such as `model.hidden.0`.
    var spelled: String {
        isEmpty ? "the value" : map(\.stringValue).joined(separator: ".")
    }
}
