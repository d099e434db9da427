import EventLoop
import Glibc
import TestSupport
import Testing

/// 4 bytes are over when `write` returns; 4 MB go through the queue and its requests.
@Test(arguments: [(4, 5000), (4 << 20, 100)])
func messagesToAndFroAllocateNothing(bytes: Int, rounds: Int) throws {
    var specification = ChildProcess.Specification(program: try probePath(), arguments: ["ping", "\(bytes)", "\(rounds)"])
    specification.output = .pipe
    var output = ""
    try withLoop { loop in
        let child = try ChildProcess(loop: loop, specification) { ending in #expect(ending.isSuccess) }
        let reader = try #require(child.output)
        reader.received = { output += String(decoding: $0, as: UTF8.self) }
        reader.ended = { _ in loop.stop() }
        reader.startReading()
    }
    let words = output.split(whereSeparator: \.isWhitespace)
    try #require(words.count == 6, "\(output)")
    #expect(words[2...3] == ["allocations", "0"])
    // The counter works: getting that far took some.
    #expect(try #require(Int(words[5])) > 10)
}
