import EventLoop
import TestSupport
import Testing

/// In steady state neither the compute threads nor the loops' threads of a ring allocate, whether messages are over with one write
/// or go through many segments.
@Test(arguments: [(2, 1, 1100), (3, 1000, 1100), (3, 400_000, 55)])
func allReducesAllocateNothing(workers: Int, elements: Int, rounds: Int) throws {
    var specification = ChildProcess.Specification(
        program: try probePath(), arguments: ["ring", "\(workers)", "\(elements)", "\(rounds)"])
    specification.output = .pipe
    let loop = try Loop()
    let child = try ChildProcess(loop: loop, specification) { ending in #expect(ending.isSuccess) }
    let reader = try #require(child.output)
    var output = ""
    reader.received = { output += String(decoding: $0, as: UTF8.self) }
    reader.ended = { _ in loop.stop() }
    reader.startReading()
    loop.run()
    loop.close()
    let words = output.split(whereSeparator: \.isWhitespace)
    try #require(words.count >= 4, "\(output)")
    #expect(words[0...1] == ["allocations", "0"], "\(output)")
    // The counter works: making the ring took some.
    #expect(try #require(Int(words[3])) > 10)
}
