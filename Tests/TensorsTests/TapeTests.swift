import Glibc
import Tensors
import Testing

/// The order in which gradients become final, and the memory they are computed in.
@Suite struct TapeTests {
    private let training = Pass(seed: 1, isTraining: true)

    /// Three layers, the first two sharing a weight, and one that is not used.
    private func network() -> (arena: ParameterArena, forward: (Tape, Int) -> Tensor) {
        let shared = Parameter([4, 4], .uniform(bound: 1))
        let last = Parameter([2, 4], .uniform(bound: 1))
        let bias = Parameter([2], .zeros)
        let unused = Parameter([5], .ones)
        let arena = ParameterArena([("unused", unused), ("shared", shared), ("last", last), ("bias", bias)], seed: 1)
        return (
            arena,
            { tape, rows in
                let x = tape.input(pattern(rows * 4), [rows, 4])
                let h = x.linear(shared, activation: .geluExact).linear(shared, activation: .relu)
                return h.dropout(0.2).linear(last, bias: bias).sum()
            }
        )
    }

    @Test func everyParameterIsReadyOnce() {
        let (arena, forward) = network()
        let tape = Tape(parameters: arena)
        for parameter in arena.parameters { parameter.gradients.update(repeating: .nan, count: parameter.count) }
        for _ in 0..<2 {
            tape.begin(training)
            var ready: [String] = []
            var snapshots: [String: [Float]] = [:]
            tape.backward(from: forward(tape, 3)) { parameter in
                ready.append(parameter.name)
                snapshots[parameter.name] = (0..<parameter.count).map { parameter.gradients[$0] }
            }
            #expect(ready == ["last", "bias", "shared", "unused"])
            // What was final then is what is there now: overwritten, not added to the pass before.
            for parameter in arena.parameters {
                #expect((0..<parameter.count).map { parameter.gradients[$0] } == snapshots[parameter.name])
            }
            #expect(snapshots["unused"] == [0, 0, 0, 0, 0])
            #expect(snapshots["shared"]?.contains { $0 != 0 } == true)
        }
    }

    /// Given away when they are ready, gradients are the bits that they are when kept, in the same order.
    @Test func gradientsAreGivenAway() {
        let (arena, forward) = network()
        let tape = Tape(parameters: arena)
        tape.begin(training)
        var kept: [String] = []
        tape.backward(from: Loss(sum: forward(tape, 3), weight: 3)) { kept.append($0.name) }
        let expected = arena.gradients.map(\.bitPattern)
        arena.gradients.update(repeating: .nan)
        for _ in 0..<2 {
            tape.begin(training)
            var given: [String] = []
            tape.backward(from: Loss(sum: forward(tape, 3), weight: 3)) { parameter, gradient in
                given.append(parameter.name)
                #expect(gradient.count == parameter.count && UInt(bitPattern: gradient.baseAddress) % 64 == 0)
                #expect(gradient.map(\.bitPattern) == Array(expected[parameter.range]))
            }
            #expect(given == kept)
        }
        #expect(arena.gradients.allSatisfy { $0.isNaN }, "the arena's are left alone")
    }

    /// A model of many layers has no more gradients in memory than one of two.
    @Test(arguments: [false, true]) func onlyAFewGradientsAreInMemory(recomputes: Bool) {
        func bytes(layers: Int) -> Int {
            let weights = (0..<layers).map { _ in Parameter([128, 128], .uniform(bound: 0.1)) }
            let arena = ParameterArena(weights.enumerated().map { ("w\($0)", $1) }, seed: 1)
            let tape = Tape(parameters: arena)
            for _ in 0..<3 {
                tape.begin(training)
                var x = tape.input(pattern(128), [1, 128])
                for weight in weights { x = recomputes ? x.recomputing { $0.linear(weight) } : x.linear(weight) }
                tape.backward(from: Loss(sum: x.sum(), weight: 1)) { _, gradient in
                    #expect(gradient.contains { $0 != 0 })
                }
            }
            return tape.reservedBytes
        }
        let gradient = 128 * 128 * 4
        // What is left are activations, of 512 bytes each.
        #expect(bytes(layers: 30) - bytes(layers: 2) < gradient)
        #expect(bytes(layers: 2) >= gradient)
    }

    /// Large gradients of several shapes take turns in one block, and the bits are those of gradients that are kept.
    @Test func largeGradientsShareABlock() {
        let shapes = [[520, 520], [600, 520], [512, 600], [700, 512]]
        let weights = shapes.map { Parameter($0, .uniform(bound: 0.1)) }
        let arena = ParameterArena(weights.enumerated().map { ("w\($0)", $1) }, seed: 1)
        func forward(_ tape: Tape) -> Loss {
            tape.begin(training)
            return Loss(sum: weights.reduce(tape.input(pattern(520), [1, 520])) { $0.linear($1) }.sum(), weight: 1)
        }
        let keeping = Tape(parameters: arena)
        keeping.backward(from: forward(keeping))
        let tape = Tape(parameters: arena)
        var places: Set<UnsafeMutablePointer<Float>> = []
        for _ in 0..<3 {
            var areRight = true
            tape.backward(from: forward(tape)) { parameter, gradient in
                places.insert(gradient.baseAddress!)
                let bytes = parameter.count * MemoryLayout<Float>.stride
                if memcmp(gradient.baseAddress!, parameter.gradients, bytes) != 0 { areRight = false }
            }
            #expect(areRight)
        }
        #expect(places.count == 1)
    }

    /// Logits that nobody needs any more are in memory once: their gradient takes their place. Those that somebody
    /// looks at stay what they are.
    @Test func theGradientTakesThePlaceOfLogits() {
        let (rows, columns) = (64, 4096)
        let labels = (0..<rows).map { Int32($0 * 31) }
        let weight = Parameter([columns, 8], .uniform(bound: 0.1))
        let arena = ParameterArena([("w", weight)], seed: 1)
        func pass(keepsLogits: Bool) -> (reservedBytes: Int, gradient: [Float]) {
            let tape = Tape(parameters: arena)
            tape.begin(training)
            let x = tape.input(pattern(rows * 8), [rows, 8])
            if keepsLogits {
                let logits = x.linear(weight)
                let values = logits.array
                tape.backward(from: softmaxCrossEntropy(logits, tape.indices(labels, [rows])))
                #expect(logits.array == values)
            } else {
                tape.backward(from: softmaxCrossEntropy(x.linear(weight), tape.indices(labels, [rows])))
            }
            return (tape.reservedBytes, Array(arena.gradients))
        }
        let (kept, free) = (pass(keepsLogits: true), pass(keepsLogits: false))
        #expect(kept.gradient == free.gradient)
        #expect(kept.reservedBytes - free.reservedBytes >= rows * columns * 4)
    }

    /// Used in the forward pass, but not by what the gradient is taken of.
    @Test func aBranchThatLeadsNowhereGivesZeros() {
        let (a, b) = (Parameter([2, 2], .ones), Parameter([2, 2], .ones))
        let arena = ParameterArena([("a", a), ("b", b)], seed: 1)
        let tape = Tape(parameters: arena)
        tape.begin(training)
        b.gradients.update(repeating: 7, count: 4)
        let x = tape.input([1, 2], [1, 2])
        let y = x.linear(a)
        _ = x.linear(b)
        var ready: [String] = []
        tape.backward(from: y.sum()) { ready.append($0.name) }
        #expect(ready == ["b", "a"])
        #expect((0..<4).map { b.gradients[$0] } == [0, 0, 0, 0])
        #expect((0..<4).map { a.gradients[$0] } == [1, 2, 1, 2])
    }

    /// Bits of a pass do not depend on which memory it happens to get, nor on what ran before.
    @Test func theSamePassGivesTheSameBits() {
        let (arena, forward) = network()
        func gradients(_ tape: Tape, rows: Int) -> [UInt32] {
            tape.begin(training)
            tape.backward(from: forward(tape, rows))
            return arena.gradients.map(\.bitPattern)
        }
        let tape = Tape(parameters: arena)
        let first = gradients(tape, rows: 33)
        for rows in [1, 64, 7, 100, 32] { _ = gradients(tape, rows: rows) }
        #expect(gradients(tape, rows: 33) == first)
        #expect(gradients(Tape(parameters: arena), rows: 33) == first)
    }

    @Test func aSteadyStateAllocatesNothing() {
        let (arena, forward) = network()
        let tape = Tape(parameters: arena)
        func step() {
            tape.begin(training)
            tape.backward(from: forward(tape, 50))
        }
        step()
        let (allocations, bytes) = (tape.systemAllocations, tape.reservedBytes)
        #expect(allocations > 0)
        for _ in 0..<5 { step() }
        #expect(tape.systemAllocations == allocations)
        #expect(tape.reservedBytes == bytes)
    }

    /// Activations of a chain are given back while it runs when nothing is recorded.
    @Test func inferenceKeepsNothing() {
        let tape = Tape()
        tape.begin(.inference)
        var x = tape.input(pattern(4096), [64, 64])
        for _ in 0..<50 { x = x.relu() }
        #expect(tape.reservedBytes <= 4 * 4096 * 4)
        #expect(!tape.isRecording)
    }

    @Test func valuesOutliveTheTape() {
        var tape: Tape? = Tape()
        let kept = tape.map { $0.input([1, 2, 3], [3]) * 2 }
        tape = nil
        #expect(kept?.array == [2, 4, 6])
    }

    @Test func memoryIsAligned() {
        let tape = Tape()
        for count in [1, 15, 16, 17, 1000] {
            #expect(UInt(bitPattern: tape.input(pattern(count), [count]).values.baseAddress) % 64 == 0)
        }
    }

    @Test func threadsAreSet() throws { try setThreadsPerWorker(1) }
}
