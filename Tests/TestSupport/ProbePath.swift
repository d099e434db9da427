import Glibc
import Testing

/// The executable that the package builds beside its tests.
package func probePath() throws -> String {
    var buffer = [UInt8](repeating: 0, count: 4096)
    let count = buffer.withUnsafeMutableBytes { readlink("/proc/self/exe", $0.baseAddress!, $0.count) }
    let executable = String(decoding: buffer.prefix(max(count, 0)), as: UTF8.self)
    let name = try #require(executable.lastIndex { $0 == "/" })
    return executable[...name] + "Probe"
}
