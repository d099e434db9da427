import EventLoop
import Glibc
import Launching
import Synchronization
import TestSupport
import Testing

@Test func linesStayWholeWhenAllWorkersWriteAtOnce() throws {
    let lines = 5000
    let script = #"""
        i=0; while [ $i -lt \#(lines) ]; do
            printf 'rank %s ' $RANK; echo "line $i of output that is long enough to be torn"
            echo "error $i of rank $RANK" >&2; i=$((i+1))
        done
        """#
    let launched = try launch(script, workers: 4)
    #expect(launched.outcome.status == 0)
    for rank in 0..<4 {
        let own = launched.output.lines.filter { $0.hasPrefix("[\(rank)] ") }
        #expect(own == (0..<lines).map { "[\(rank)] rank \(rank) line \($0) of output that is long enough to be torn" })
        let errors = launched.errors.lines.filter { $0.hasPrefix("[\(rank)] ") }
        #expect(errors == (0..<lines).map { "[\(rank)] error \($0) of rank \(rank)" })
    }
    #expect(launched.output.lines.count == 4 * lines && launched.errors.lines.count == 4 * lines)
}

@Test func aLastLineWithoutAnEndGetsOne() throws {
    let launched = try launch("printf a; printf b >&2", workers: 1)
    #expect(launched.output.text == "[0] a\n" && launched.errors.text == "[0] b\n")
}

@Test func eachRankHasALogOfItsOwn() throws {
    let folder = try TemporaryFolder()
    let logs = folder("a/b")
    // Rank 1 fails, and thereby ends rank 0, only once rank 0's line has arrived.
    let script = "echo out $RANK; [ $RANK = 0 ] && exit 0; while [ ! -s \(logs)/rank-0.log ]; do sleep 0.01; done; echo err >&2; exit 5"
    let launched = try launch(script, workers: 2) { $0.logDirectory = logs }
    func log(_ rank: Int) throws -> [String] {
        let file = try #require(fopen("\(logs)/rank-\(rank).log", "r"))
        defer { fclose(file) }
        var buffer = [UInt8](repeating: 0, count: 1000)
        let count = fread(&buffer, 1, buffer.count, file)
        return String(decoding: buffer[..<count], as: UTF8.self).split(separator: "\n").map(String.init)
    }
    #expect(try log(0) == ["out 0"])
    #expect(try log(1).sorted() == ["err", "out 1"])
    #expect(launched.outcome.failure?.logPath == logs + "/rank-1.log")
}

@Test func aLogDirectoryThatCannotBeMadeIsNamed() throws {
    let error = #expect(throws: LaunchError.self) {
        try launch("exit 0", workers: 2) { $0.logDirectory = "/dev/null/logs" }
    }
    #expect(error == .logFile(path: "/dev/null/logs", code: SystemCode(errno: ENOTDIR)))
}

@Test func aReaderThatHasGoneDoesNotEndTheRun() throws {
    let ends = try makePipe()
    close(ends.reading)
    defer { close(ends.writing) }
    let launched = try launch("i=0; while [ $i -lt 1000 ]; do echo $i; i=$((i+1)); done; echo done >&2", workers: 2) {
        $0.outputDescriptor = ends.writing
    }
    #expect(launched.outcome.status == 0)
    let complaints = launched.errors.lines.filter { $0.hasPrefix("lockstep: ") }
    #expect(complaints == ["lockstep: output can no longer be written (broken pipe (EPIPE)); the run goes on without it"])
    #expect(launched.errors.lines.filter { $0.hasSuffix("] done") }.count == 2)
}

@Test func aReaderThatPausesMakesTheWorkersWaitAndNotTheLauncher() throws {
    // 16 MB, four times what the launcher holds for a reader, and nobody reads until its loop has ticked a while.
    let (reading, writing) = try makePipe()
    let total = 16 << 20
    let readerLoop = try Loop()
    let read = Mutex((count: 0, isOver: false))
    try readerLoop.startThread(name: "slow reader")
    let errors = try Capture()
    var ticks = 0
    var timer: Timer?
    let launched = try launch(
        "echo begun >&2; head -c \(total) /dev/zero | tr '\\0' x | fold -w 1000; echo written >&2", workers: 1
    ) {
        $0.outputDescriptor = writing
        $0.errorDescriptor = errors.descriptor
        $0.beforeStart = { loop in
            timer = try Timer(loop: loop) {
                // The worker's own report comes through, while its output is stuck.
                guard ticks > 0 || errors.text == "[0] begun\n" else { return }
                ticks += 1
                guard ticks == 20 else { return }
                #expect(errors.text == "[0] begun\n")
                readerLoop.enqueue {
                    do {
                        let reader = try PipeReader(loop: readerLoop, descriptor: reading, name: "output")
                        reader.received = { chunk in read.withLock { $0.count += chunk.count { $0 == UInt8(ascii: "x") } } }
                        reader.ended = { _ in read.withLock { $0.isOver = true } }
                        reader.startReading()
                    } catch {
                        Issue.record("\(error)")
                        close(reading)
                    }
                }
            }
            timer?.start(every: .milliseconds(20))
        }
    }
    close(writing)
    // What the launcher has written need not have been read yet.
    let deadline = ContinuousClock.now + generousLimit
    while !read.withLock({ $0.isOver }), ContinuousClock.now < deadline { usleep(1000) }
    readerLoop.stopAndJoin()
    #expect(launched.outcome.status == 0 && ticks >= 20 && errors.text == "[0] begun\n[0] written\n")
    #expect(read.withLock { $0.count } == total)
}

@Test func aLongLineComesWhole() throws {
    let launched = try launch("head -c 300000 /dev/zero | tr '\\0' x; echo; echo end", workers: 1)
    #expect(launched.output.text == "[0] " + String(repeating: "x", count: 300_000) + "\n[0] end\n")
    #expect(launched.errors.text == "")
}

/// What stands on a terminal without a line's end is passed on while the worker waits for it to be seen.
@Test(arguments: ["Name? ", "10%\r"]) func whatHasNoEndIsPassedOnInTime(text: String) throws {
    let output = try Capture()
    var seen: [String] = []
    var timer: Timer?
    // The worker waits until it has been seen.
    var path = Array("/tmp/lockstep-seen-XXXXXX".utf8CString)
    let descriptor = mkstemp(&path)
    try #require(descriptor >= 0)
    close(descriptor)
    let file = String(decoding: path.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    unlink(file)
    defer { unlink(file) }
    let shown = text.replacing("%", with: "%%").replacing("\r", with: "\\r")
    let script = "printf '\(shown)'; i=0; while [ ! -e \(file) ] && [ $i -lt 600 ]; do sleep 0.05; i=$((i+1)); done; echo there"
    let launched = try launch(script, workers: 1) {
        $0.outputDescriptor = output.descriptor
        $0.beforeStart = { loop in
            timer = try Timer(loop: loop) {
                guard seen.isEmpty, !output.text.isEmpty else { return }
                seen.append(output.text)
                close(creat(file, 0o600))
            }
            timer?.start(every: .milliseconds(10))
        }
    }
    #expect(launched.outcome.status == 0 && seen == ["[0] " + text])
    #expect(output.text == "[0] \(text)" + (text.hasSuffix("\r") ? "[0] " : "") + "there\n")
}
