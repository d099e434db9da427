import Tensors
import Testing

/// How parameters lie in memory.
@Suite struct ArenaTests {
    @Test func parametersStandInReverseAligned() {
        let sizes = [1, 15, 16, 17, 0, 33]
        let parameters = sizes.map { Parameter([$0], .ones) }
        let arena = ParameterArena(parameters.enumerated().map { ("p\($0.offset)", $0.element) }, seed: 1)
        #expect(arena.parameters.map(\.name) == ["p5", "p4", "p3", "p2", "p1", "p0"])
        #expect(arena.parameters.map(\.offset) == [0, 48, 48, 80, 96, 112])
        #expect(arena.count == 128)
        #expect(arena.elementCount == sizes.reduce(0, +))
        for parameter in arena.parameters {
            #expect(UInt(bitPattern: parameter.values) % 64 == 0)
            #expect(UInt(bitPattern: parameter.gradients) % 64 == 0)
            #expect(arena[parameter.name] === parameter)
        }
        // Ones in the parameters, zeros in the gaps.
        let inside = Set(arena.parameters.flatMap { Array($0.range) })
        for (place, value) in arena.values.enumerated() { #expect(value == (inside.contains(place) ? 1 : 0)) }
        #expect(arena.gradients.allSatisfy { $0 == 0 })
        #expect(arena["p9"] == nil)
    }

    @Test func aSharedParameterIsOne() {
        let (a, b) = (Parameter([2], .ones), Parameter([3], .ones))
        let arena = ParameterArena([("a", a), ("b", b), ("again", a)], seed: 1)
        #expect(arena.parameters.map(\.name) == ["b", "a"])
    }

    @Test func decayRunsCoverTheArena() {
        let shapes = [[3], [2, 2], [2, 17], [4], [5]]
        let arena = ParameterArena(
            shapes.enumerated().map { ("p\($0.offset)", Parameter($0.element, .ones)) }, seed: 1)
        let runs = arena.decayRuns
        #expect(runs.map(\.range) == [0..<32, 32..<96, 96..<112])
        #expect(runs.map(\.decays) == [false, true, false])
        let forced = ParameterArena([("a", Parameter([3], .ones, decays: true))], seed: 1)
        #expect(forced.decayRuns.map(\.decays) == [true])
    }

    @Test func anEmptyArena() {
        let arena = ParameterArena([], seed: 1)
        #expect(arena.count == 0)
        #expect(arena.decayRuns.isEmpty)
    }

    @Test func valuesAreDrawnAnew() {
        let parameter = Parameter([7, 3], .normal(deviation: 1))
        let arena = ParameterArena([("w", parameter)], seed: 1)
        let first = Array(arena.values)
        arena.initialize(seed: 2)
        #expect(Array(arena.values) != first)
        arena.initialize(seed: 1)
        #expect(Array(arena.values) == first)
    }
}
