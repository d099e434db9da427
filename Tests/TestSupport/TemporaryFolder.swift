import EventLoop
import Glibc

/// A folder of its own for one test, which goes with it and with all that is in it.
package final class TemporaryFolder: Sendable {
    package let path: String

    package init() throws {
        var template = Array("/tmp/lockstep-test-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw Failure(code: SystemCode(errno: errno)) }
        path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    package struct Failure: Error {
        let code: SystemCode
    }

    deinit {
        removeTree(path)
    }

    /// The path of something in it, which need not be there.
    package func callAsFunction(_ name: String) -> String { "\(path)/\(name)" }

    private func removeTree(_ path: String) {
        if let directory = opendir(path) {
            while let entry = readdir(directory) {
                let name = withUnsafePointer(to: &entry.pointee.d_name) {
                    $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
                }
                if name != ".", name != ".." { removeTree("\(path)/\(name)") }
            }
            closedir(directory)
        }
        remove(path)
    }
}
