import Checkpoints
import Glibc
import Testing

/// A directory of its own for one test, which is removed with the last reference.
final class TemporaryDirectory {
    let path: String

    init() {
        var template = Array("/tmp/lockstep-checkpoints-XXXXXX".utf8CString)
        if mkdtemp(&template) == nil { Issue.record("no temporary directory: \(String(cString: strerror(errno)))") }
        path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    deinit {
        remove(path)
    }

    /// Writes a file and returns its path.
    @discardableResult
    func write(_ name: String, _ bytes: [UInt8]) -> String {
        let file = "\(path)/\(name)"
        let descriptor = open(file, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
        if !bytes.isEmpty, Glibc.write(descriptor, bytes, bytes.count) != bytes.count {
            Issue.record("cannot write \(file): \(String(cString: strerror(errno)))")
        }
        close(descriptor)
        return file
    }

    func read(_ name: String) -> [UInt8] {
        let descriptor = open("\(path)/\(name)", O_RDONLY)
        defer { close(descriptor) }
        var status = stat()
        fstat(descriptor, &status)
        var bytes = [UInt8](repeating: 0, count: Int(status.st_size))
        if Glibc.read(descriptor, &bytes, bytes.count) != bytes.count {
            Issue.record("cannot read \(path)/\(name): \(String(cString: strerror(errno)))")
        }
        return bytes
    }

    func list(_ name: String) -> [String] {
        ((try? SystemFileSystem().list("\(path)/\(name)")) ?? []).sorted()
    }

    private func remove(_ path: String) {
        for name in (try? SystemFileSystem().list(path)) ?? [] { remove("\(path)/\(name)") }
        if rmdir(path) != 0 { unlink(path) }
    }
}
