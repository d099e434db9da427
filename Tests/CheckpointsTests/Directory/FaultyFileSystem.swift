import Checkpoints
import Glibc
import Synchronization

/// The machine's file system with one fault, at the n-th call that changes or reads something.
final class FaultyFileSystem: FileSystem {
    enum Fault {
        /// Nothing happens; calls are counted and noted.
        case none
        /// The process dies just before the call, or in the middle of a write: that call and all later ones fail.
        case death(at: Int)
        /// The process dies just after the call.
        case deathAfter(Int)
        /// One call fails, and the process goes on.
        case failure(at: Int, code: Int32)
        /// Every call is interrupted once, and writes and reads do `bytes` bytes at most.
        case interruptions(bytes: Int)
    }

    private struct State {
        var calls = 0
        var isDead = false
        var wasInterrupted = false
        var trace: [String] = []
    }

    private let fault: Fault
    private let system = SystemFileSystem()
    private let state = Mutex(State())

    init(_ fault: Fault) {
        self.fault = fault
    }

    /// The calls made so far.
    var calls: Int { state.withLock { $0.calls } }

    /// What was called, in order.
    var trace: [String] { state.withLock { $0.trace } }

    /// What a dead process's calls give, as it were.
    static let death = SystemError(code: ESHUTDOWN)

    /// Makes a call, with the fault if it is its turn. `half` is what remains of a call in whose middle the process dies.
    private func call<Value>(
        _ name: String, half: () -> Void = {}, _ body: () throws(SystemError) -> Value
    ) throws(SystemError) -> Value {
        let (number, isDead, interrupts) = state.withLock { state in
            state.calls += 1
            state.trace.append(name)
            if case .interruptions = fault { state.wasInterrupted.toggle() }
            return (state.calls, state.isDead, state.wasInterrupted)
        }
        if isDead { throw FaultyFileSystem.death }
        switch fault {
        case .interruptions where interrupts && !name.hasPrefix("close"):
            throw SystemError(code: EINTR)
        case .death(number):
            state.withLock { $0.isDead = true }
            half()
            throw FaultyFileSystem.death
        case .deathAfter(number):
            state.withLock { $0.isDead = true }
            _ = try body()
            throw FaultyFileSystem.death
        case .failure(number, let code):
            throw SystemError(code: code)
        default:
            return try body()
        }
    }

    private var greatestTransfer: Int {
        if case .interruptions(let bytes) = fault { bytes } else { Int.max }
    }

    private func last(_ path: String) -> String {
        path.split(separator: "/").suffix(2).joined(separator: "/")
    }

    func makeDirectory(_ path: String) throws(SystemError) {
        try call("mkdir \(last(path))") { () throws(SystemError) in try system.makeDirectory(path) }
    }

    func create(_ path: String) throws(SystemError) -> Int32 {
        try call("create \(last(path))") { () throws(SystemError) in try system.create(path) }
    }

    func open(_ path: String) throws(SystemError) -> Int32 {
        try call("open \(last(path))") { () throws(SystemError) in try system.open(path) }
    }

    func write(_ descriptor: Int32, _ bytes: UnsafeRawBufferPointer) throws(SystemError) -> Int {
        let half = UnsafeRawBufferPointer(rebasing: bytes[..<(bytes.count / 2)])
        let part = UnsafeRawBufferPointer(rebasing: bytes.prefix(greatestTransfer))
        return try call("write", half: { _ = try? system.write(descriptor, half) }) { () throws(SystemError) in
            try system.write(descriptor, part)
        }
    }

    func read(_ descriptor: Int32, at offset: Int, into buffer: UnsafeMutableRawBufferPointer) throws(SystemError) -> Int {
        let part = UnsafeMutableRawBufferPointer(rebasing: buffer.prefix(greatestTransfer))
        return try call("read") { () throws(SystemError) in try system.read(descriptor, at: offset, into: part) }
    }

    func size(_ descriptor: Int32) throws(SystemError) -> Int {
        try call("size") { () throws(SystemError) in try system.size(descriptor) }
    }

    func synchronize(_ descriptor: Int32) throws(SystemError) {
        try call("fsync") { () throws(SystemError) in try system.synchronize(descriptor) }
    }

    /// A dead process's descriptors are closed for it.
    func close(_ descriptor: Int32) throws(SystemError) {
        try call("close", half: { try? system.close(descriptor) }) { () throws(SystemError) in
            try system.close(descriptor)
        }
    }

    func rename(_ path: String, to newPath: String) throws(SystemError) {
        try call("rename \(last(path)) \(last(newPath))") { () throws(SystemError) in
            try system.rename(path, to: newPath)
        }
    }

    func removeFile(_ path: String) throws(SystemError) {
        try call("unlink \(last(path))") { () throws(SystemError) in try system.removeFile(path) }
    }

    func removeDirectory(_ path: String) throws(SystemError) {
        try call("rmdir \(last(path))") { () throws(SystemError) in try system.removeDirectory(path) }
    }

    func list(_ path: String) throws(SystemError) -> [String] {
        try call("list \(last(path))") { () throws(SystemError) in try system.list(path) }
    }

    /// No writer but this process is alive.
    func isAlive(process: Int32) -> Bool {
        false
    }
}
