import Glibc
import Testing

/// A directory of its own for one test, which is removed with the last reference.
final class TemporaryDirectory {
    let path: String

    init() {
        var template = Array("/tmp/lockstep-datasets-XXXXXX".utf8CString)
        if mkdtemp(&template) == nil { Issue.record("no temporary directory: \(String(cString: strerror(errno)))") }
        path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    deinit {
        for name in names { unlink("\(path)/\(name)") }
        rmdir(path)
    }

    private var names: [String] = []

    /// Writes a file and returns its path.
    @discardableResult
    func write(_ name: String, _ bytes: [UInt8]) -> String {
        let file = "\(path)/\(name)"
        let descriptor = open(file, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
        if !bytes.isEmpty, Glibc.write(descriptor, bytes, bytes.count) != bytes.count {
            Issue.record("cannot write \(file): \(String(cString: strerror(errno)))")
        }
        close(descriptor)
        names.append(name)
        return file
    }
}
