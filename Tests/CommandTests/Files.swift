import Glibc
import Testing

/// A directory for one test, which goes with it.
final class TemporaryDirectory {
    let path: String

    init() throws {
        var template = Array("/tmp/lockstep-test-XXXXXX".utf8CString)
        try #require(mkdtemp(&template) != nil)
        path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    deinit {
        // Of a file system mounted on it, if there is one, though a file in it may still be open.
        _ = umount2(path, Int32(MNT_DETACH))
        for entry in entries(below: path).reversed() { _ = remove(path + "/" + entry) }
        rmdir(path)
    }

    func callAsFunction(_ name: String) -> String { path + "/" + name }
}

/// Every name below a directory, those of directories before those in them; empty if there is none.
func entries(below directory: String) -> [String] {
    guard let stream = opendir(directory) else { return [] }
    defer { closedir(stream) }
    var names: [String] = []
    while let entry = readdir(stream) {
        let name = withUnsafeBytes(of: entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
        if name != ".", name != ".." { names.append(name) }
    }
    return names.sorted().flatMap { name in [name] + entries(below: directory + "/" + name).map { name + "/" + $0 } }
}

/// A file's bytes as text; empty if there is none.
func contents(of path: String) -> String {
    String(decoding: bytes(of: path), as: UTF8.self)
}

func bytes(of path: String) -> [UInt8] {
    guard let file = fopen(path, "r") else { return [] }
    defer { fclose(file) }
    var all: [UInt8] = []
    var piece = [UInt8](repeating: 0, count: 1 << 16)
    while true {
        let count = fread(&piece, 1, piece.count, file)
        if count == 0 { return all }
        all += piece[..<count]
    }
}

func write(_ bytes: some Collection<UInt8>, to path: String) throws {
    let file = try #require(fopen(path, "w"))
    let all = Array(bytes)
    let count = fwrite(all, 1, all.count, file)
    fclose(file)
    try #require(count == all.count)
}

func write(_ text: String, to path: String) throws {
    try write(Array(text.utf8), to: path)
}

/// The folder that holds Package.swift.
let packageRoot: String = {
    let parts = #filePath.split(separator: "/").dropLast(3)
    return "/" + parts.joined(separator: "/")
}()
