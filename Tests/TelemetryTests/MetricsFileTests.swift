import Glibc
import Telemetry
import Testing

struct MetricsFileTests {
    final class TemporaryFile {
        let directory: String
        var path: String { "\(directory)/metrics.jsonl" }

        init(_ contents: String? = nil) {
            var template = Array("/tmp/lockstep-telemetry-XXXXXX".utf8CString)
            if mkdtemp(&template) == nil { Issue.record("no temporary directory: \(String(cString: strerror(errno)))") }
            directory = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
            if let contents { self.contents = contents }
        }

        deinit {
            unlink(path)
            rmdir(directory)
        }

        var contents: String {
            get {
                let descriptor = open(path, O_RDONLY)
                defer { close(descriptor) }
                var bytes = [UInt8](repeating: 0, count: 1 << 22)
                let count = read(descriptor, &bytes, bytes.count)
                return String(decoding: bytes.prefix(max(0, count)), as: UTF8.self)
            }
            set {
                let descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
                if !newValue.isEmpty, write(descriptor, newValue, newValue.utf8.count) != newValue.utf8.count {
                    Issue.record("cannot write \(path): \(String(cString: strerror(errno)))")
                }
                close(descriptor)
            }
        }
    }

    func metrics(_ step: Int) -> StepMetrics {
        StepMetrics(
            step: step, loss: 0.1, learningRate: 1e-05, gradientNorm: 1.5, itemsPerSecond: 1e7, stepMilliseconds: 2,
            computeMilliseconds: 1, exposedReduceMilliseconds: 0.5, optimizerMilliseconds: 0.25, bytesSent: 1 << 40,
            worldSize: 4)
    }

    func record(_ step: Int) -> String {
        #"{"step":\#(step),"loss":0.1,"learning_rate":1e-05,"gradient_norm":1.5,"items_per_second":10000000.0,"#
            + #""step_ms":2.0,"compute_ms":1.0,"exposed_reduce_ms":0.5,"optimizer_ms":0.25,"bytes_sent":1099511627776,"#
            + #""world_size":4}"# + "\n"
    }

    @Test func oneRecordALine() throws {
        let file = TemporaryFile()
        let metrics = try MetricsFile(path: file.path)
        #expect(file.contents == "")
        try metrics.append(self.metrics(1))
        #expect(file.contents == record(1))
        try metrics.append(self.metrics(2))
        #expect(file.contents == record(1) + record(2))
    }

    @Test func validationAndNumbersThatJSONLacks() {
        var metrics = metrics(3)
        metrics.loss = .nan
        metrics.gradientNorm = .infinity
        metrics.validationLoss = -Double.infinity
        metrics.validationAccuracy = 0.975
        let json = metrics.json
        #expect(json.hasPrefix(#"{"step":3,"loss":null,"learning_rate":1e-05,"gradient_norm":null,"#))
        #expect(json.hasSuffix(#","world_size":4,"validation_loss":null,"validation_accuracy":0.975}"#))
    }

    @Test func aNewRunTakesAnEmptyFile() throws {
        let file = TemporaryFile("")
        try MetricsFile(path: file.path).append(metrics(1))
        #expect(file.contents == record(1))
    }

    @Test func anotherRunsFileIsReplacedOnRequestOnly() throws {
        for torn in ["", "{\"step\":3,\"lo", "\0\0\0"] {
            let file = TemporaryFile(record(1) + record(2) + torn)
            #expect(throws: TelemetryError.anotherRun(path: file.path, lastStep: 2)) { try MetricsFile(path: file.path) }
            #expect(file.contents == record(1) + record(2) + torn)
            try MetricsFile(path: file.path, overwrites: true).append(metrics(1))
            #expect(file.contents == record(1))
        }
    }

    /// Whatever is asked for: to begin, to replace, to go on at any step.
    @Test(arguments: [
        "my notes", "my notes\n", "\n", "\0", "{", "{\"step\":1,\"loss\":0.5}\n", "{\"epoch\":1,\"loss\":0.5}\n", "{\"step\":1,\"text\":\"",
        "[1]\n", "#!/bin/sh\n", "{\"stop\":1", "a,b\n1,2\n",
    ])
    func whatIsNoMetricsFileIsLeftAlone(contents: String) {
        // The beginning of a record alone can be one that was torn.
        let isTorn = contents == "{"
        for (resumedStep, overwrites) in [(nil, false), (nil, true), (0, false), (100, false)] as [(Int?, Bool)] {
            let file = TemporaryFile(contents)
            let opened = try? MetricsFile(path: file.path, resumedStep: resumedStep, overwrites: overwrites)
            #expect((opened != nil) == isTorn)
            if !isTorn { #expect(file.contents == contents) }
        }
    }

    /// Records of two runs, one after the other, or others' lines behind ours.
    @Test func allOfAFileIsReadBeforeAnyOfItIsCut() {
        for later in [record(1), record(3), "a line\n", "half a line", record(2) + "\n"] {
            for step in [0, 1, 3, 100] {
                let file = TemporaryFile((1...3).map(record).joined() + later)
                let contents = file.contents
                #expect(throws: TelemetryError.notAMetricsFile(path: file.path, line: 4)) {
                    try MetricsFile(path: file.path, resumedStep: step)
                }
                #expect(throws: TelemetryError.self) { try MetricsFile(path: file.path, overwrites: true) }
                #expect(file.contents == contents)
            }
        }
    }

    @Test func linksAreNotFollowed() throws {
        let file = TemporaryFile(record(1))
        let (link, other) = ("\(file.directory)/link", "\(file.directory)/other")
        defer { for path in [link, other] { unlink(path) } }
        func refuses(_ path: String, _ error: TelemetryError) {
            #expect(throws: error) { try MetricsFile(path: path, overwrites: true) }
            #expect(throws: error) { try MetricsFile(path: path, resumedStep: 1) }
        }
        symlink(file.path, link)
        refuses(link, .isSymbolicLink(path: link))
        unlink(link)
        symlink("\(file.directory)/nowhere", link)
        refuses(link, .isSymbolicLink(path: link))
        #expect(access("\(file.directory)/nowhere", F_OK) != 0)
        Glibc.link(file.path, other)
        refuses(other, .hasOtherNames(path: other, count: 2))
        refuses(file.path, .hasOtherNames(path: file.path, count: 2))
        #expect(file.contents == record(1))
    }

    @Test func pipesSocketsAndDevicesAreRefusedAtOnce() {
        let file = TemporaryFile()
        mkfifo(file.path, 0o600)
        for path in [file.path, "/dev/null", "/dev/full", "/dev/zero"] {
            #expect(throws: TelemetryError.isNoFile(path: path)) { try MetricsFile(path: path) }
        }
        unlink(file.path)
        let socket = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(socket) }
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: Array(file.path.utf8)) }
        withUnsafePointer(to: &address) { address in
            address.withMemoryRebound(to: sockaddr.self, capacity: 1) { _ = bind(socket, $0, socklen_t(MemoryLayout<sockaddr_un>.size)) }
        }
        #expect(throws: TelemetryError.isNoFile(path: file.path)) { try MetricsFile(path: file.path) }
    }

    @Test func oneWritesAtATime() throws {
        let file = TemporaryFile()
        let first = try MetricsFile(path: file.path)
        try first.append(metrics(1))
        #expect(throws: TelemetryError.inUse(path: file.path)) { try MetricsFile(path: file.path, resumedStep: 1) }
        try first.append(metrics(2))
        #expect(file.contents == record(1) + record(2))
    }

    @Test(arguments: [0, 1, 5, 299, 300, 301, 1000]) func aResumedRunContinues(step: Int) throws {
        // More than one piece of reading.
        let file = TemporaryFile((1...300).map(record).joined())
        try MetricsFile(path: file.path, resumedStep: step).append(metrics(step + 1))
        let kept = step == 0 ? "" : (1...min(step, 300)).map(record).joined()
        #expect(file.contents == kept + record(step + 1))
    }

    @Test(arguments: [0, 1, 9, 50, 51, 207]) func aTornLastLineIsCutOff(length: Int) throws {
        let file = TemporaryFile(record(1) + record(2) + record(3).prefix(length))
        try MetricsFile(path: file.path, resumedStep: 10).append(metrics(11))
        #expect(file.contents == record(1) + record(2) + record(11))
    }

    @Test func everyTearingOfAFile() throws {
        let whole = (1...4).map(record).joined()
        for length in 0...whole.utf8.count {
            let file = TemporaryFile(String(whole.prefix(length)))
            _ = try MetricsFile(path: file.path, resumedStep: 2)
            let lines = min(2, whole.prefix(length).count { $0 == "\n" })
            #expect(file.contents == (0..<lines).map { record($0 + 1) }.joined())
        }
    }

    @Test func aFileThatIsThereNotYet() throws {
        let file = TemporaryFile()
        try MetricsFile(path: file.path, resumedStep: 7).append(metrics(8))
        #expect(file.contents == record(8))
    }

    @Test(arguments: ["a letter\n", "{}\n", "{\"step\":}\n", "{\"step\":x,}\n", "\n", "{\"step\":2\n"])
    func anotherFileIsNotCut(line: String) throws {
        let contents = record(1) + line + "and more"
        let file = TemporaryFile(contents)
        #expect(throws: TelemetryError.notAMetricsFile(path: file.path, line: 2)) {
            try MetricsFile(path: file.path, resumedStep: 100)
        }
        #expect(file.contents == contents)
    }

    @Test func pathsThatCannotBe() {
        #expect(throws: TelemetryError.system(operation: "open", path: "/nonexistent/file", errno: ENOENT)) {
            try MetricsFile(path: "/nonexistent/file")
        }
        #expect(throws: TelemetryError.system(operation: "open", path: "/tmp", errno: EISDIR)) {
            try MetricsFile(path: "/tmp")
        }
    }

    /// On a disk of one page: what is in the file is whole, and it goes on where there is room again.
    @Test(.enabled(if: SmallDisk.canBeMounted, "mounting a small file system needs root"))
    func aFullDisk() throws {
        let disk = try SmallDisk(bytes: 4096)
        let file = try MetricsFile(path: disk.metrics)
        var steps = 0
        let error = TelemetryError.system(operation: "write", path: disk.metrics, errno: ENOSPC)
        while true {
            do throws(TelemetryError) {
                try file.append(metrics(steps + 1))
                steps += 1
            } catch {
                break
            }
        }
        let whole = (1...steps).map(record).joined()
        #expect(steps > 10 && disk.contents == whole)
        #expect(throws: error) { try file.append(metrics(steps + 1)) }
        #expect(disk.contents == whole && file.lastStep == steps)
        try disk.grow(to: 8192)
        for step in steps + 1...steps + 3 { try file.append(metrics(step)) }
        #expect(disk.contents == whole + (steps + 1...steps + 3).map(record).joined())
    }
}

/// A file system in memory that is soon full.
final class SmallDisk {
    private let path: String
    var metrics: String { path + "/metrics" }

    init(bytes: Int) throws {
        var template = Array("/tmp/lockstep-telemetry-XXXXXX".utf8CString)
        path = String(cString: mkdtemp(&template)!)
        try mount(bytes, 0)
    }

    deinit {
        umount2(path, Int32(MNT_DETACH))
        rmdir(path)
    }

    func grow(to bytes: Int) throws { try mount(bytes, UInt(MS_REMOUNT)) }

    private func mount(_ bytes: Int, _ flags: UInt) throws {
        try #require("size=\(bytes)".withCString { Glibc.mount("tmpfs", path, "tmpfs", flags, $0) } == 0)
    }

    var contents: String {
        let descriptor = open(metrics, O_RDONLY)
        defer { close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: 1 << 16)
        return String(decoding: bytes[..<max(0, read(descriptor, &bytes, bytes.count))], as: UTF8.self)
    }

    static let canBeMounted = geteuid() == 0 && (try? SmallDisk(bytes: 4096)) != nil
}
