import CTensorKernels
import Tensors
import Testing

/// Counter-based random numbers: published vectors, and what training relies on.
@Suite struct RandomTests {
    /// The known answers that come with the authors' Random123 library.
    @Test(arguments: [
        (UInt64(0), [UInt32](repeating: 0, count: 4), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
        (UInt64.max, [UInt32](repeating: .max, count: 4), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
        (
            UInt64(0x299f_31d0_a409_3822), [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        ),
    ] as [(UInt64, [UInt32], [UInt32])])
    func philoxGivesThePublishedNumbers(_ key: UInt64, _ counter: [UInt32], _ expected: [UInt32]) {
        var words = [UInt32](repeating: 0, count: 4)
        tensor_random_block(
            &words, tensor_random_key(key: key, a: counter[1], b: counter[2], c: counter[3]), counter[0])
        #expect(words == expected)
    }

    private func draw(_ count: Int, _ initialization: Initialization, seed: UInt64 = 1, name: String = "w") -> [Float] {
        let parameter = Parameter([count], initialization)
        _ = ParameterArena([(name, parameter)], seed: seed)
        return (0..<count).map { parameter.values[$0] }
    }

    @Test func normalNumbersHaveTheRightMoments() {
        let x = draw(100_000, .normal(deviation: 2)).map { Double($0) / 2 }
        let n = Double(x.count)
        let moment = { (k: Int) in x.reduce(0.0) { sum, v in sum + (0..<k).reduce(1.0) { p, _ in p * v } } / n }
        #expect(abs(moment(1)) < 0.02)
        #expect(abs(moment(2) - 1) < 0.02)
        #expect(abs(moment(3)) < 0.05)
        #expect(abs(moment(4) - 3) < 0.12)
        #expect(x.map(abs).max()! < 6)
        #expect(x.map(abs).max()! > 3.5)
    }

    @Test func uniformNumbersFillTheirRange() {
        let x = draw(100_000, .uniform(bound: 0.5))
        #expect(x.allSatisfy { $0 >= -0.5 && $0 < 0.5 })
        #expect(abs(x.reduce(0, +) / 100_000) < 0.005)
        #expect(x.min()! < -0.4999)
        #expect(x.max()! > 0.4999)
    }

    /// Bits, on any CPU and with any C library: the first values of a parameter are part of the recipe.
    @Test func firstValuesAreTheseBits() {
        let (normal, uniform) = (Initialization.normal(deviation: 0.02), Initialization.uniform(bound: 0.1))
        #expect(draw(37, normal, seed: 42, name: "layer.weight").map(\.bitPattern) == Golden.normal)
        #expect(draw(37, uniform, seed: 42, name: "layer.weight").map(\.bitPattern) == Golden.uniform)
    }

    @Test(arguments: [0, 1, 3, 4, 5, 31, 32, 33, 63]) func aPrefixDoesNotDependOnTheLength(_ count: Int) {
        for initialization in [Initialization.normal(deviation: 1), .uniform(bound: 1)] {
            #expect(draw(count, initialization) == Array(draw(100, initialization).prefix(count)))
        }
    }

    @Test func streamsDifferBySeedAndName() {
        let base = draw(8, .normal(deviation: 1))
        #expect(base == draw(8, .normal(deviation: 1)))
        #expect(base != draw(8, .normal(deviation: 1), seed: 2))
        #expect(base != draw(8, .normal(deviation: 1), name: "v"))
    }

    private func dropped(_ count: Int, _ pass: Pass, operation: Int = 0, rate: Float = 0.25) -> [Float] {
        let tape = Tape()
        tape.begin(pass)
        let ones = tape.input([Float](repeating: 1, count: count), [count])
        for _ in 0..<operation { _ = ones.dropout(rate) }
        return ones.dropout(rate).array
    }

    @Test func dropoutKeepsTheMean() {
        let x = dropped(40_000, Pass(seed: 1, isTraining: true))
        #expect(Set(x) == [0, 1 / 0.75])
        #expect(abs(x.reduce(0, +) / 40_000 - 1) < 0.01)
    }

    @Test func dropoutIsKeyedByEverythingButTheRank() {
        let pass = Pass(seed: 1, step: 2, microBatch: 3, isTraining: true)
        let base = dropped(64, pass)
        #expect(base == dropped(64, pass))
        #expect(base != dropped(64, Pass(seed: 2, step: 2, microBatch: 3, isTraining: true)))
        #expect(base != dropped(64, Pass(seed: 1, step: 3, microBatch: 3, isTraining: true)))
        #expect(base != dropped(64, Pass(seed: 1, step: 2, microBatch: 4, isTraining: true)))
        #expect(base != dropped(64, pass, operation: 1))
        #expect(dropped(64, .inference) == [Float](repeating: 1, count: 64))
        #expect(dropped(64, pass, rate: 0) == [Float](repeating: 1, count: 64))
    }

    /// cos(2 pi x) at the places where its branches meet.
    @Test func cosineOfTurns() {
        let exact: [(Double, Double)] = [(0, 1), (0.25, 0), (0.5, -1), (0.75, 0), (1, 1)]
        for (x, y) in exact { #expect(abs(tensor_cosine_of_turns(x) - y) < 1e-15) }
        #expect(abs(tensor_cosine_of_turns(0.125) - 0.5.squareRoot()) < 1e-15)
        #expect(abs(tensor_cosine_of_turns(1 / 6) - 0.5) < 1e-15)
        #expect(abs(tensor_cosine_of_turns(1 / 3) + 0.5) < 1e-15)
        #expect(abs(tensor_cosine_of_turns(0.3) - -0.309016994374947424) < 1e-15)
        for (x, y) in exact { #expect(abs(PortableMath.sine(turns: x - 0.25) + y) < 1e-15) }
        #expect(PortableMath.cosine(turns: 0.3) == tensor_cosine_of_turns(0.3))
    }

    /// e^x to 2 units in the last place, and beyond the ends of the range.
    @Test func exponentials() {
        let known = [(0.0, 1.0), (1, 2.718281828459045), (-1, 0.36787944117144233), (709.7, 1.6549840276802644e+308), (-700, 9.85967654375977e-305)]
        for (x, y) in known { #expect(abs(PortableMath.exponential(x) - y) <= 2 * y.ulp) }
        #expect(PortableMath.exponential(-708.5) == 0 && PortableMath.exponential(-.infinity) == 0)
        #expect(PortableMath.exponential(709.79) == .infinity && PortableMath.exponential(.infinity) == .infinity)
        #expect(PortableMath.exponential(.nan).isNaN)
    }
}
