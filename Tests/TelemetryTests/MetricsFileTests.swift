import Glibc
import Telemetry
import Testing

struct MetricsFileTests {
    private final class TemporaryFile {
        let directory: String
        var path: String { "\(directory)/metrics.jsonl" }

        init(_ contents: String? = nil) {
            var template = Array("/tmp/lockstep-telemetry-XXXXXX".utf8CString)
            directory = String(cString: mkdtemp(&template)!)
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
                return String(decoding: bytes[..<read(descriptor, &bytes, bytes.count)], as: UTF8.self)
            }
            set {
                let descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
                precondition(newValue.isEmpty || write(descriptor, newValue, newValue.utf8.count) == newValue.utf8.count)
                close(descriptor)
            }
        }
    }

    private func metrics(_ step: Int) -> StepMetrics {
        StepMetrics(
            step: step, loss: 0.1, learningRate: 1e-05, gradientNorm: 1.5, itemsPerSecond: 1e7, stepMilliseconds: 2,
            computeMilliseconds: 1, exposedReduceMilliseconds: 0.5, optimizerMilliseconds: 0.25, bytesSent: 1 << 40,
            worldSize: 4)
    }

    private func record(_ step: Int) -> String {
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

    @Test func aNewRunEmptiesTheFile() throws {
        let file = TemporaryFile("anything\nat all")
        try MetricsFile(path: file.path).append(metrics(1))
        #expect(file.contents == record(1))
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

    @Test func aFullDisk() throws {
        let metrics = try MetricsFile(path: "/dev/full")
        #expect(throws: TelemetryError.system(operation: "write", path: "/dev/full", errno: ENOSPC)) {
            try metrics.append(self.metrics(1))
        }
    }
}
