import Glibc
import Processes
import Testing

/// The kernel's files, faked below a directory that goes with the test.
private final class FakeSystem {
    let root: String
    private var made: [String] = []

    init(_ files: [String: String]) throws {
        var template = Array("/tmp/lockstep-test-XXXXXX".utf8CString)
        try #require(mkdtemp(&template) != nil)
        root = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        made = [root]
        for (path, text) in files {
            var directory = root
            for part in path.split(separator: "/").dropLast() {
                directory += "/" + part
                if mkdir(directory, 0o755) == 0 { made.append(directory) }
            }
            let file = try #require(fopen(root + path, "w"))
            fputs(text, file)
            fclose(file)
            made.append(root + path)
        }
    }

    deinit {
        for path in made.reversed() { _ = remove(path) }
    }
}

private let version2 = "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n"
private let version1 = "41 32 0:34 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"

/// A layout, and the limit that holds there with the group that has it.
private struct Layout: CustomTestStringConvertible, Sendable {
    let testDescription: String
    let files: [String: String]
    let path: String?
    let bytes: UInt64?

    init(_ name: String, _ files: [String: String], _ path: String?, _ bytes: UInt64?) {
        (testDescription, self.files, self.path, self.bytes) = (name, files, path, bytes)
    }
}

private let layouts = [
    Layout("nothing", [:], nil, nil),
    Layout(
        "version 2, no limit",
        ["/proc/self/cgroup": "0::/a\n", "/proc/self/mountinfo": version2, "/sys/fs/cgroup/a/memory.max": "max\n"], nil, nil),
    Layout(
        "version 2, own limit",
        ["/proc/self/cgroup": "0::/a\n", "/proc/self/mountinfo": version2, "/sys/fs/cgroup/a/memory.max": "314572800\n"], "/a",
        314_572_800),
    Layout(
        "version 2, the grandparent's is the smallest",
        [
            "/proc/self/cgroup": "0::/a/b/c\n", "/proc/self/mountinfo": version2, "/sys/fs/cgroup/a/memory.max": "1000\n",
            "/sys/fs/cgroup/a/b/memory.max": "max\n", "/sys/fs/cgroup/a/b/c/memory.max": "2000\n",
        ], "/a", 1000),
    Layout(
        "version 2 in a container, whose own group is its root",
        [
            "/proc/self/cgroup": "0::/\n", "/proc/self/mountinfo": version2.replacing(" / /sys", with: " /docker/1f /sys"),
            "/sys/fs/cgroup/memory.max": "3000\n",
        ], "/", 3000),
    Layout(
        "version 2 in a container that sees the host's names",
        [
            "/proc/self/cgroup": "0::/docker/1f/job\n",
            "/proc/self/mountinfo": version2.replacing(" / /sys", with: " /docker/1f /sys"),
            "/sys/fs/cgroup/memory.max": "3000\n", "/sys/fs/cgroup/job/memory.max": "2500\n",
        ], "/job", 2500),
    Layout(
        "version 2, a group outside of what is mounted",
        [
            "/proc/self/cgroup": "0::/../other\n", "/proc/self/mountinfo": version2, "/sys/fs/cgroup/memory.max": "5000\n",
        ], "/", 5000),
    Layout(
        "version 1, what stands for no limit",
        [
            "/proc/self/cgroup": "7:cpu,cpuacct:/x\n4:memory:/a\n", "/proc/self/mountinfo": version1,
            "/sys/fs/cgroup/memory/a/memory.limit_in_bytes": "9223372036854771712\n",
        ], nil, nil),
    Layout(
        "version 1, the parent's",
        [
            "/proc/self/cgroup": "4:memory:/a/b\n", "/proc/self/mountinfo": version1,
            "/sys/fs/cgroup/memory/a/memory.limit_in_bytes": "700\n", "/sys/fs/cgroup/memory/a/memory.use_hierarchy": "1\n",
            "/sys/fs/cgroup/memory/a/b/memory.limit_in_bytes": "900\n",
        ], "/a", 700),
    Layout(
        "version 1, a parent that does not count",
        [
            "/proc/self/cgroup": "4:memory:/a/b\n", "/proc/self/mountinfo": version1,
            "/sys/fs/cgroup/memory/a/memory.limit_in_bytes": "700\n", "/sys/fs/cgroup/memory/a/memory.use_hierarchy": "0\n",
            "/sys/fs/cgroup/memory/a/b/memory.limit_in_bytes": "900\n",
        ], "/a/b", 900),
    Layout(
        "both, and the limit is version 1's",
        [
            "/proc/self/cgroup": "4:memory:/a\n0::/b\n", "/proc/self/mountinfo": version1 + version2,
            "/sys/fs/cgroup/memory/a/memory.limit_in_bytes": "800\n", "/sys/fs/cgroup/b/memory.max": "max\n",
        ], "/a", 800),
    Layout(
        "a mount point with a space in its name",
        [
            "/proc/self/cgroup": "0::/a\n", "/proc/self/mountinfo": version2.replacing("/sys/fs/cgroup", with: "/my\\040groups"),
            "/my groups/a/memory.max": "600\n",
        ], "/a", 600),
    Layout(
        "files that make no sense",
        [
            "/proc/self/cgroup": "nonsense\n::\n0::\n4:memory\n", "/proc/self/mountinfo": "1 2 3\n- - -\n" + version2,
            "/sys/fs/cgroup/memory.max": "-1\n",
        ], nil, nil),
]

@Test(arguments: layouts) private func theSmallestLimitOfAllGroupsHolds(layout: Layout) throws {
    let system = try FakeSystem(layout.files)
    let found = MemoryGroups(SystemFiles(root: system.root)).smallestLimit
    #expect(found?.path == layout.path && found?.bytes == layout.bytes)
}

private func facts(
    physical: UInt64 = 64_000_000_000, group: UInt64? = nil, addresses: (UInt64, UInt64)? = nil, data: (UInt64, UInt64)? = nil
) -> MemoryFacts {
    var facts = MemoryFacts(physicalBytes: physical)
    facts.group = group.map { ("/g", $0) }
    facts.addressSpace = addresses.map { ($0.0, $0.1) }
    facts.data = data.map { ($0.0, $0.1) }
    return facts
}

@Test func machineAndGroupAreSharedByTheWorkersOfAHost() {
    let own = MemoryAllowance.ofAnyWorker
    #expect(facts().allowance(workers: 1).bytes == 64_000_000_000 - own)
    #expect(facts().allowance(workers: 4).bytes == 16_000_000_000 - own)
    #expect(facts(group: 300 << 20).allowance(workers: 2) == MemoryAllowance(
        bytes: (150 << 20) - own, source: .group(path: "/g"), sourceBytes: 300 << 20))
    // What does not do even for empty workers.
    #expect(facts(group: 10 << 20).allowance(workers: 2).bytes == 0)
    // A group that may have more than there is does not limit anything.
    #expect(facts(physical: 8 << 30, group: 9 << 30).allowance(workers: 1).source == .machine)
}

@Test func theLimitsOfAProcessAreItsOwn() {
    #expect(facts(addresses: (2_000_000, 500_000)).allowance(workers: 8) == MemoryAllowance(
        bytes: 1_500_000, source: .addressSpace, sourceBytes: 2_000_000))
    #expect(facts(addresses: (100, 200)).allowance(workers: 1).bytes == 0)
    #expect(facts(addresses: (2_000_000, 0), data: (1_000_000, 400_000)).allowance(workers: 1) == MemoryAllowance(
        bytes: 600_000, source: .data, sourceBytes: 1_000_000))
}

@Test func whatDoesNotFitIsTold() {
    var need = MemoryNeed(parameters: 85e6, bytesPerParameter: 24)
    need.workers = 2
    need.activationBytes = 1e9
    let needed = 85e6 * 24
    let small = facts(group: 300 << 20)
    #expect(need.excess(over: small) == .model(neededBytes: needed, small.allowance(workers: 2)))
    let middling = facts(group: 5_000_000_000)
    #expect(need.excess(over: middling) == .activations(
        neededBytes: 1e9, leftBytes: Double(2_500_000_000 - MemoryAllowance.ofAnyWorker) - needed, middling.allowance(workers: 2)))
    #expect(need.excess(over: facts()) == nil)
    // One that it just fits into, and one byte less.
    let exact = UInt64(needed + 1e9) + MemoryAllowance.ofAnyWorker
    #expect(need.excess(over: facts(group: 2 * exact)) == nil)
    #expect(need.excess(over: facts(group: 2 * exact - 2)) != nil)
    // A checkpoint's copy is one worker's, whichever that is.
    need.copyBytesPerParameter = 12
    #expect(need.excess(over: facts(group: 2 * exact)) != nil)
    #expect(need.excess(over: facts(group: 2 * exact + 12 * 85_000_000)) == nil)
    #expect(need.excess(over: facts(addresses: (exact + 6 * 85_000_000, 0))) != nil)
}

/// Numbers of whatever size come from files and flags.
@Test func nonsenseIsTooMuchAndNoTrap() {
    for count in [1e30, 1e300, Double.infinity] {
        #expect(MemoryNeed(parameters: count, bytesPerParameter: 24).excess(over: facts()) != nil)
    }
    #expect(byteText(1e300).hasSuffix(" GB") && byteText(.infinity) == "inf GB")
}

@Test(arguments: [
    (0, "0 MB"), (314_572_800, "315 MB"), (999_400_000, "999 MB"), (1e9, "1 GB"), (2.04e9, "2 GB"), (2.06e9, "2.1 GB"),
    (25_271_234_560, "25 GB"),
]) func bytesAsPeopleReadThem(bytes: Double, text: String) {
    #expect(byteText(bytes) == text)
}

@Test func theFactsOfThisMachineAreThere() {
    let facts = MemoryFacts.current()
    #expect(facts.physicalBytes > 1 << 20)
    #expect(facts.addressSpace.map { $0.used > 0 } ?? true)
}
