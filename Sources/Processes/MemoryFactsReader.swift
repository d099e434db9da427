import Glibc

extension MemoryFacts {
    /// What holds for this process now.
    package static func current() -> MemoryFacts {
        let page = UInt64(max(sysconf(Int32(_SC_PAGESIZE)), 1))
        var facts = MemoryFacts(physicalBytes: UInt64(max(sysconf(Int32(_SC_PHYS_PAGES)), 0)) * page)
        let files = SystemFiles(root: "")
        facts.group = MemoryGroups(files).smallestLimit
        // Pages: of all addresses, resident, shared, of text, nothing, of data and stack.
        let used = files.text("/proc/self/statm").split(separator: " ").compactMap { UInt64($0.filter(\.isNumber)) }
        func limit(_ resource: __rlimit_resource) -> UInt64? {
            var limit = rlimit()
            guard getrlimit(__rlimit_resource_t(resource.rawValue), &limit) == 0, limit.rlim_cur != rlim_t.max else { return nil }
            return UInt64(limit.rlim_cur)
        }
        if let limit = limit(RLIMIT_AS) { facts.addressSpace = (limit, used.first.map { $0 * page } ?? 0) }
        if let limit = limit(RLIMIT_DATA) { facts.data = (limit, used.count > 5 ? used[5] * page : 0) }
        return facts
    }
}

/// The kernel's files, below a directory that tests may choose.
package struct SystemFiles {
    let root: String

    package init(root: String) {
        self.root = root
    }

    /// A file's contents; empty if there is none. Files of the kernel have no size to go by.
    func text(_ path: String) -> String {
        let descriptor = open(root + path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return "" }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        var piece = [UInt8](repeating: 0, count: 1 << 14)
        while bytes.count < 1 << 22 {
            let count = read(descriptor, &piece, piece.count)
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { break }
            bytes += piece[..<count]
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}

/// The cgroups that a process is in, as far as they limit memory: of version 1, of version 2, or of both.
package struct MemoryGroups {
    private let files: SystemFiles
    private let mounts: [Mount]

    /// A file system of cgroups: where it stands, and which cgroup stands there.
    private struct Mount {
        let root: String
        let point: String
        let isVersion2: Bool
    }

    package init(_ files: SystemFiles) {
        self.files = files
        mounts = files.text("/proc/self/mountinfo").split(separator: "\n").compactMap(MemoryGroups.mount)
    }

    /// The smallest limit that holds for this process: its own cgroup's, or one's above it. A group's name is its path below the mount.
    package var smallestLimit: (path: String, bytes: UInt64)? {
        var smallest: (path: String, bytes: UInt64)?
        for line in files.text("/proc/self/cgroup").split(separator: "\n") {
            // "4:memory:/a/b" or, of version 2, "0::/a/b".
            let parts = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
            guard parts.count == 3 else { continue }
            let isVersion2 = parts[0] == "0" && parts[1].isEmpty
            guard isVersion2 || parts[1].split(separator: ",").contains("memory") else { continue }
            for mount in mounts where mount.isVersion2 == isVersion2 {
                for limit in limits(of: String(parts[2]), at: mount) where limit.bytes < smallest?.bytes ?? .max { smallest = limit }
            }
        }
        return smallest
    }

    /// "36 35 98:0 /root /point options - type source superoptions", with any number of optional fields before the dash.
    private static func mount(_ line: Substring) -> Mount? {
        let fields = line.split(separator: " ")
        guard let dash = fields.firstIndex(of: "-"), dash >= 5, fields.count > dash + 3 else { return nil }
        let isVersion2 = fields[dash + 1] == "cgroup2"
        guard isVersion2 || fields[dash + 1] == "cgroup" && fields[dash + 3].split(separator: ",").contains("memory") else { return nil }
        return Mount(root: plain(fields[3]), point: plain(fields[4]), isVersion2: isVersion2)
    }

    /// Spaces and the like are written as three octal digits: "\040".
    private static func plain(_ field: Substring) -> String {
        var bytes: [UInt8] = []
        var rest = Array(field.utf8)[...]
        while let byte = rest.popFirst() {
            let digits = rest.prefix(3)
            if byte == UInt8(ascii: "\\"), digits.count == 3, let code = UInt8(String(decoding: digits, as: UTF8.self), radix: 8) {
                bytes.append(code)
                rest = rest.dropFirst(3)
            } else {
                bytes.append(byte)
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    /// The limits of a cgroup and of those above it that can be seen through a mount.
    private func limits(of group: String, at mount: Mount) -> [(path: String, bytes: UInt64)] {
        // In a container the mount may begin at the container's group, and the group may be written as the host or as the container sees it.
        let root = mount.root == "/" ? "" : mount.root
        let isBelow = group == root || group.hasPrefix(root + "/")
        var path = isBelow ? String(group.dropFirst(root.count)) : ""
        while path.hasSuffix("/") { path.removeLast() }
        if path.split(separator: "/").contains("..") { path = "" }
        var found: [(path: String, bytes: UInt64)] = []
        while true {
            if let bytes = limit(at: mount.point + path, isVersion2: mount.isVersion2) {
                found.append((path.isEmpty ? "/" : path, bytes))
            }
            guard let slash = path.lastIndex(of: "/") else { return found }
            path = String(path[..<slash])
            // Before Linux 5.11 a group of version 1 may not count what is below it, and nor do those above it then.
            if !mount.isVersion2, files.text(mount.point + path + "/memory.use_hierarchy").first == "0" { return found }
        }
    }

    private func limit(at directory: String, isVersion2: Bool) -> UInt64? {
        let name = isVersion2 ? "memory.max" : "memory.limit_in_bytes"
        // "max" is no limit, and neither is what version 1 writes for it: more than any machine has.
        guard let bytes = UInt64(files.text(directory + "/" + name).filter { !$0.isWhitespace }), bytes < 1 << 62 else { return nil }
        return bytes
    }
}
