import Glibc
import RawText

extension JSONValue {
    /// More than any configuration or index has.
    private static let greatestFile = 1 << 26

    /// Reads a file of JSON.
    ///
    /// - Throws: `CheckpointError.system`, or `.invalidJSON` with the offset of the first fault.
    public init(file path: String) throws(CheckpointError) {
        let file = try InputFile(path: path, fileSystem: SystemFileSystem())
        guard file.byteCount <= JSONValue.greatestFile else {
            throw .invalidJSON(offset: JSONValue.greatestFile, reason: "the file has \(file.byteCount) bytes")
        }
        try self.init(parsing: file.read(at: 0, count: file.byteCount))
    }

    /// Writes a file of JSON, indented, that appears whole or not at all.
    ///
    /// - Throws: `CheckpointError.system`; a file that was at `path` is then as it was.
    public func write(to path: String) throws(CheckpointError) {
        try OutputFile.replace(path, fileSystem: SystemFileSystem()) { (file) throws(CheckpointError) in
            try file.write(Array("\(serialized(indented: true))\n".utf8))
        }
    }
}

/// Makes a directory, and those above it, unless it is there.
package func makeDirectories(_ path: String) throws(CheckpointError) {
    try SystemFileSystem().makeDirectories(path)
}

/// Whether there is anything of that name, be it a link that leads nowhere.
package func fileExists(_ path: String) -> Bool {
    var status = stat()
    return path.withFileName { lstat($0, &status) } == 0
}
