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
