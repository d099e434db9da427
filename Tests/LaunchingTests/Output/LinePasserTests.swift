import Launching
import TestSupport
import Testing

/// Several outputs that write to one place, as workers' do.
private struct Place {
    var passers: [LinePasser]
    var text = ""
    private var owner: Int?
    var now = Duration.zero
    var lines: [String] = []

    init(_ count: Int, longestLine: Int = 1 << 20) {
        passers = (0..<count).map { LinePasser(prefix: Array("[\($0)] ".utf8), longestLine: longestLine) }
    }

    mutating func write(_ chunk: String, from output: Int = 0) { write(Array(chunk.utf8), from: output) }

    mutating func write(_ chunk: [UInt8], from output: Int) {
        var complete: [String] = []
        let passed = chunk.withUnsafeBytes { chunk in
            passers[output].append(chunk, at: now, standsOpen: owner == output) { complete.append(String(decoding: $0, as: UTF8.self)) }
        }
        lines += complete
        take(passed, from: output)
    }

    mutating func tick() {
        for output in passers.indices { take(passers[output].tick(at: now, standsOpen: owner == output), from: output) }
    }

    mutating func finish(_ output: Int = 0) { take(passers[output].finish(standsOpen: owner == output), from: output) }

    private mutating func take(_ passed: LinePasser.Passed, from output: Int) {
        guard !passed.bytes.isEmpty else { return }
        if owner != nil, owner != output { text += "\n" }
        text += String(decoding: passed.bytes, as: UTF8.self)
        owner = passed.standsOpen ? output : nil
    }
}

@Suite struct LinePasserTests {
    @Test func wholeLinesComeAtOnceAndBegunOnesWhenTheyAreWhole() {
        var place = Place(1)
        place.write("a\nb")
        #expect(place.text == "[0] a\n" && place.passers[0].isPending)
        place.write("c\n\nd")
        place.tick()
        #expect(place.text == "[0] a\n[0] bc\n[0] \n" && place.lines == ["a", "bc", ""])
        place.finish()
        #expect(place.text == "[0] a\n[0] bc\n[0] \n[0] d\n")
        let isPending = place.passers[0].isPending
        #expect(!isPending)
    }

    @Test func aPromptIsShownAndGoesOnWhereItStands() {
        var place = Place(2)
        place.write("Name? ")
        place.now = LinePasser.pause - .milliseconds(1)
        place.tick()
        #expect(place.text == "")
        place.now = LinePasser.pause
        place.tick()
        #expect(place.text == "[0] Name? ")
        place.write("you\nthere")
        #expect(place.text == "[0] Name? you\n")
        place.finish()
        #expect(place.text == "[0] Name? you\n[0] there\n")
    }

    /// Somebody else writes in the meantime: the line comes again, whole.
    @Test func linesAreNeverTorn() {
        var place = Place(2)
        place.write("half")
        place.now = .seconds(1)
        place.tick()
        place.write("other\n", from: 1)
        place.write(" and half\n")
        #expect(place.text == "[0] half\n[1] other\n[0] half and half\n")
        // What is whole already is not said twice.
        place.write("all")
        place.now = .seconds(2)
        place.tick()
        place.write("other\n", from: 1)
        place.write("\n")
        place.finish()
        #expect(place.text.hasSuffix("\n[0] all\n[1] other\n"))
    }

    @Test func progressIsPassedOnWhenItHasStoodForATick() {
        var place = Place(2)
        place.write("10%\r")
        place.tick()
        #expect(place.text == "")
        place.now = LinePasser.tick
        place.tick()
        #expect(place.text == "[0] 10%\r")
        place.write("20%\r30%\r40")
        place.now = LinePasser.tick * 2
        place.tick()
        #expect(place.text == "[0] 10%\r[0] 20%\r[0] 30%\r")
        place.write("done\n", from: 1)
        place.write("%\r\n")
        #expect(place.text == "[0] 10%\r[0] 20%\r[0] 30%\r\n[1] done\n[0] 40%\r\n")
        // Progress that is written over and then has its line's end.
        place.write("50%\r")
        place.now = LinePasser.tick * 4
        place.tick()
        place.write("\n")
        #expect(place.text.hasSuffix("[0] 50%\r\n"))
    }

    /// Faster than a tick, for ever: what is complete is seen all the same, and so is a line that grows little by little.
    @Test func whatNeverRestsIsSeen() {
        var place = Place(1)
        for step in 1...50 {
            place.now = .milliseconds(step * 20)
            place.write("\(step)\r")
            place.tick()
        }
        #expect(place.text.contains("[0] 45\r"))
        var dots = Place(1)
        for step in 0...60 {
            dots.now = .milliseconds(step * 20)
            dots.write(".")
            dots.tick()
        }
        #expect(dots.text.hasPrefix("[0] ....."))
    }

    @Test(arguments: [1, 2, 7, 63, 64, 65, 200]) func aLineThatIsTooLongIsNotCut(chunk: Int) {
        let line = String((0..<200).map { Character(Unicode.Scalar(UInt8(97 + $0 % 26))) })
        var place = Place(2, longestLine: 64)
        let bytes = Array(line.utf8)
        for start in stride(from: 0, to: bytes.count, by: chunk) {
            place.write(Array(bytes[start..<min(start + chunk, bytes.count)]), from: 0)
        }
        place.write("\nnext\n")
        #expect(place.text == "[0] \(line)\n[0] next\n")
        let isTorn = place.passers[0].hasTornLine
        #expect(!isTorn)
    }

    @Test func aLineThatIsTornSaysSo() {
        var place = Place(2, longestLine: 4)
        place.write("abcdef")
        place.write("other\n", from: 1)
        place.write("ghi\n")
        #expect(place.text == "[0] abcdef\n[1] other\n[0] ghi\n")
        let isTorn = place.passers[0].hasTornLine
        #expect(isTorn)
    }

    /// Whatever comes when: each line stands there whole, once, behind the mark of its output, and in its order.
    @Test(arguments: 0..<20) func whateverComesWhenLinesAreWhole(seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        var place = Place(3)
        var sent: [[String]] = [[], [], []]
        var rest: [[UInt8]] = [[], [], []]
        for _ in 0..<2000 {
            place.now += .milliseconds(Int.random(in: 0...60, using: &generator))
            let output = Int.random(in: 0..<3, using: &generator)
            if rest[output].isEmpty {
                sent[output].append("<\(sent[output].count) of \(output)>")
                rest[output] = Array("\(sent[output].last ?? "")\n".utf8)
            }
            let count = Int.random(in: 1...rest[output].count, using: &generator)
            place.write(Array(rest[output].prefix(count)), from: output)
            rest[output].removeFirst(count)
            if Bool.random(using: &generator) { place.tick() }
        }
        for output in 0..<3 {
            place.write(rest[output], from: output)
            place.finish(output)
        }
        let lines = place.text.split(separator: "\n")
        for output in 0..<3 {
            let whole = lines.filter { $0.hasPrefix("[\(output)] <") && $0.hasSuffix(">") }
            #expect(whole == sent[output].map { "[\(output)] \($0)" })
        }
        // All else are beginnings, each with a mark.
        for line in lines { #expect(line.dropFirst().dropFirst().hasPrefix("] <") && line.hasPrefix("[")) }
    }
}
