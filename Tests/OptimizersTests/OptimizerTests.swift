import Optimizers
import Testing

/// Optimizers against PyTorch, and against themselves on parts.
@Suite struct OptimizerTests {
    /// The arena's values and optimizer state, updated by parts that the caller chooses.
    private struct Arena {
        var values: [Float]
        var state: [[Float]]
        var runs: [(range: Range<Int>, decays: Bool)]

        init(_ values: [Float], for optimizer: some Optimizer, runs: [(range: Range<Int>, decays: Bool)]? = nil) {
            self.values = values
            state = optimizer.stateNames.map { _ in [Float](repeating: 0, count: values.count) }
            self.runs = runs ?? [(0..<values.count, true)]
        }

        mutating func update(
            _ optimizer: some Optimizer, _ gradients: [Float], _ step: OptimizerStep, parts: [Range<Int>]? = nil
        ) {
            for range in parts ?? [0..<values.count] {
                var copies = state.map { Array($0[range]) }
                var part = Array(values[range])
                let count = copies.count
                part.withUnsafeMutableBufferPointer { part in
                    Array(gradients[range]).withUnsafeBufferPointer { gradients in
                        let pointers = (0..<count).map { index in
                            copies[index].withUnsafeMutableBufferPointer { $0.baseAddress! }
                        }
                        optimizer.update(
                            ArenaPart(
                                range: range, values: part.baseAddress!, gradients: gradients.baseAddress!,
                                state: pointers, decayRuns: runs), with: step)
                    }
                }
                values.replaceSubrange(range, with: part)
                for index in 0..<count { state[index].replaceSubrange(range, with: copies[index]) }
            }
        }
    }

    static let cases: [(name: String, optimizer: any Optimizer, rate: Double, golden: [[Float]])] = [
        ("sgd", SGD(), 0.1, Golden.sgd),
        ("sgd, decay", SGD(weightDecay: 0.01), 0.1, Golden.sgdDecay),
        ("sgd, momentum", SGD(momentum: 0.9, weightDecay: 0.01), 0.1, Golden.sgdMomentum),
        ("sgd, Nesterov", SGD(momentum: 0.9, nesterov: true, weightDecay: 0.01), 0.1, Golden.sgdNesterov),
        ("adamw", AdamW(beta1: 0.9, beta2: 0.99, weightDecay: 0.1), 0.01, Golden.adamW),
        (
            "adamw, no decay", AdamW(beta1: 0.8, beta2: 0.95, epsilon: 1e-3, weightDecay: 0), 0.01,
            Golden.adamWWithoutDecay
        ),
    ]

    @Test(arguments: cases.indices) func twoStepsArePyTorchs(_ index: Int) {
        let (name, optimizer, rate, golden) = Self.cases[index]
        var arena = Arena([1, -2, 0.5, 3], for: optimizer)
        let gradients: [[Float]] = [[0.5, -0.25, 2, 0], [-1, 0.125, 1.5, 0.75]]
        for step in 0..<2 {
            // Twice the gradient, scaled by a half: the scale belongs to the gradient alone.
            arena.update(
                optimizer, gradients[step].map { 2 * $0 },
                OptimizerStep(number: step + 1, learningRate: rate, gradientScale: 0.5))
            for (got, expected) in zip(arena.values, golden[step]) {
                #expect(abs(got - expected) <= 3e-7 * max(1, abs(expected)), "\(name), step \(step)")
            }
        }
    }

    private func numbers(_ count: Int, seed: Int) -> [Float] {
        (0..<count).map { Float(($0 * 7919 + seed * 104_729) % 10_007) / 5000 - 1 }
    }

    /// Buckets and shards: the same bits as the whole arena at once, at any boundaries.
    @Test(arguments: cases.indices) func partsGiveTheSameBits(_ index: Int) {
        let optimizer = Self.cases[index].optimizer
        let count = 1003
        let runs = [(range: 0..<37, decays: false), (range: 37..<900, decays: true), (range: 900..<1003, decays: false)]
        var whole = Arena(numbers(count, seed: 1), for: optimizer, runs: runs)
        var split = whole
        for number in 1...3 {
            let gradients = numbers(count, seed: 1 + number)
            let step = OptimizerStep(number: number, learningRate: 0.01, gradientScale: 0.3)
            whole.update(optimizer, gradients, step)
            split.update(optimizer, gradients, step, parts: [0..<1, 1..<36, 36..<523, 523..<540, 540..<1003])
        }
        #expect(whole.values.map(\.bitPattern) == split.values.map(\.bitPattern))
        #expect(whole.state == split.state)
    }

    @Test(arguments: cases.indices) func gapsStayZero(_ index: Int) {
        let optimizer = Self.cases[index].optimizer
        var arena = Arena([Float](repeating: 0, count: 17), for: optimizer)
        for number in 1...3 {
            arena.update(optimizer, arena.values, OptimizerStep(number: number, learningRate: 0.1))
        }
        #expect(arena.values.allSatisfy { $0 == 0 })
        #expect(arena.state.allSatisfy { $0.allSatisfy { $0 == 0 } })
    }

    @Test func decayStopsAtItsRuns() {
        for optimizer in [SGD(weightDecay: 0.5), AdamW(weightDecay: 0.5)] as [any Optimizer] {
            var arena = Arena([1, 1, 1], for: optimizer, runs: [(0..<1, false), (1..<2, true), (2..<3, false)])
            arena.update(optimizer, [0, 0, 0], OptimizerStep(number: 1, learningRate: 0.1))
            #expect(arena.values == [1, 0.95, 1])
        }
    }
}
