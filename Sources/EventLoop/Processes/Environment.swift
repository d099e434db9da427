import CLibuv
import RawText

/// A process's environment variables. Values that nobody touches are passed on byte for byte, whatever their encoding.
package struct Environment: Sendable {
    /// `NAME=value`, without the closing 0.
    private var entries: [[UInt8]] = []

    /// An empty environment.
    package init() {}

    /// A copy of this process's (`uv_os_environ`).
    package static func current() -> Environment {
        var items: UnsafeMutablePointer<uv_env_item_t>?
        var count: Int32 = 0
        var environment = Environment()
        guard uv_os_environ(&items, &count) == 0, let items else { return environment }
        defer { uv_os_free_environ(items, count) }
        for item in UnsafeBufferPointer(start: items, count: Int(count)) {
            environment.entries.append(bytes(item.name) + [UInt8(ascii: "=")] + bytes(item.value))
        }
        return environment
    }

    private static func bytes(_ text: UnsafePointer<CChar>) -> [UInt8] {
        var bytes: [UInt8] = []
        var next = text
        while next.pointee != 0 {
            bytes.append(UInt8(bitPattern: next.pointee))
            next += 1
        }
        return bytes
    }

    /// A variable's value, nil when it is not set. Setting nil removes it. A name has no `=`; neither has a 0 byte.
    package subscript(name: String) -> String? {
        get {
            let prefix = Array((name + "=").utf8)
            return entries.first { $0.starts(with: prefix) }.map { RawText.string($0[prefix.count...]) }
        }
        set {
            precondition(!name.isEmpty && !name.utf8.contains { $0 == 0 || $0 == UInt8(ascii: "=") }, "not a variable's name")
            let prefix = Array((name + "=").utf8)
            entries.removeAll { $0.starts(with: prefix) }
            if let newValue {
                precondition(!newValue.utf8.contains(0), "a variable's value cannot hold a 0 byte")
                entries.append(prefix + RawText.bytes(newValue))
            }
        }
    }

    /// Sets each of `others`, over what was there.
    package mutating func merge(_ others: [String: String]) {
        for (name, value) in others { self[name] = value }
    }

    /// Lends the block as `execve` takes it.
    func withPointers<Result>(_ body: (UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>) -> Result) -> Result {
        withCStrings(entries, body)
    }
}

/// Lends byte strings as a null-terminated array of null-terminated strings, valid during `body`.
func withCStrings<Result>(
    _ strings: [[UInt8]], _ body: (UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>) -> Result
) -> Result {
    let pointers = UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>.allocate(capacity: strings.count + 1)
    for (index, string) in strings.enumerated() {
        let copy = UnsafeMutablePointer<CChar>.allocate(capacity: string.count + 1)
        for (offset, byte) in string.enumerated() { copy[offset] = CChar(bitPattern: byte) }
        copy[string.count] = 0
        (pointers + index).initialize(to: copy)
    }
    (pointers + strings.count).initialize(to: nil)
    defer {
        for index in strings.indices { pointers[index]!.deallocate() }
        pointers.deallocate()
    }
    return body(pointers)
}
