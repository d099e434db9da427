/// What limits the memory of a process, as the system's files and limits had it at one moment.
package struct MemoryFacts: Equatable, Sendable {
    /// What the machine has.
    package var physicalBytes: UInt64
    /// The smallest limit of the process's cgroup and of those above it, and whose it is; nil where there is none.
    package var group: (path: String, bytes: UInt64)?
    /// What the process's addresses may come to (RLIMIT_AS, `ulimit -v`), and what they come to.
    package var addressSpace: (limit: UInt64, used: UInt64)?
    /// The same of its own data (RLIMIT_DATA, `ulimit -d`).
    package var data: (limit: UInt64, used: UInt64)?

    package init(physicalBytes: UInt64) {
        self.physicalBytes = physicalBytes
    }

    package static func == (one: MemoryFacts, other: MemoryFacts) -> Bool {
        one.physicalBytes == other.physicalBytes && one.group?.path == other.group?.path
            && one.group?.bytes == other.group?.bytes && one.addressSpace?.limit == other.addressSpace?.limit
            && one.addressSpace?.used == other.addressSpace?.used && one.data?.limit == other.data?.limit
            && one.data?.used == other.data?.used
    }

    /// What a worker may still take, of which there are `workers` on this host, beside what each takes to be there at all.
    ///
    /// Machine and cgroup are shared out evenly; the limits of a process are its own.
    package func allowance(workers: Int) -> MemoryAllowance {
        let workers = UInt64(max(workers, 1))
        func share(_ bytes: UInt64, _ source: MemoryAllowance.Source) -> MemoryAllowance {
            let part = bytes / workers
            return MemoryAllowance(
                bytes: part > MemoryAllowance.ofAnyWorker ? part - MemoryAllowance.ofAnyWorker : 0, source: source, sourceBytes: bytes)
        }
        func rest(_ limit: (limit: UInt64, used: UInt64), _ source: MemoryAllowance.Source) -> MemoryAllowance {
            let bytes = limit.limit > limit.used ? limit.limit - limit.used : 0
            return MemoryAllowance(bytes: bytes, source: source, sourceBytes: limit.limit)
        }
        var all = [share(physicalBytes, .machine)]
        if let group { all.append(share(group.bytes, .group(path: group.path))) }
        if let addressSpace { all.append(rest(addressSpace, .addressSpace)) }
        if let data { all.append(rest(data, .data)) }
        return all.min { $0.bytes < $1.bytes } ?? all[0]
    }
}

/// How much memory a worker may still take, and what it is that says so.
package struct MemoryAllowance: Equatable, Sendable {
    package enum Source: Equatable, Sendable {
        case machine
        case group(path: String)
        case addressSpace
        case data
    }

    package let bytes: UInt64
    package let source: Source
    /// What all that share the source may have.
    package let sourceBytes: UInt64

    /// What a worker takes before it has a model.
    package static let ofAnyWorker: UInt64 = 25_000_000

    package init(bytes: UInt64, source: Source, sourceBytes: UInt64) {
        self.bytes = bytes
        self.source = source
        self.sourceBytes = sourceBytes
    }

    /// What there is and who says so: "this machine has 25 GB".
    package var text: String {
        let amount = byteText(Double(sourceBytes))
        return switch source {
        case .machine: "this machine has \(amount)"
        case .group(let path): "the memory limit of its cgroup \(path) is \(amount)"
        case .addressSpace: "the limit of its address space (ulimit -v) is \(amount)"
        case .data: "the limit of its data (ulimit -d) is \(amount)"
        }
    }
}

/// As people read it: "315 MB", "2.1 GB", "25 GB". Powers of ten, as memory is told elsewhere.
package func byteText(_ bytes: Double) -> String {
    func whole(_ value: Double) -> String { value < 1e15 ? "\(Int(value.rounded()))" : "\(value)" }
    if bytes < 999.5e6 { return "\(whole(bytes / 1e6)) MB" }
    let tenths = (bytes / 1e8).rounded()
    if tenths < 100 { return tenths.truncatingRemainder(dividingBy: 10) == 0 ? "\(whole(tenths / 10)) GB" : "\(tenths / 10) GB" }
    return "\(whole(bytes / 1e9)) GB"
}
