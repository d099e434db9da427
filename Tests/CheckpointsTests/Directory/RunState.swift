import Checkpoints

/// A small run's state: some weights and optimizer tensors that depend on a seed and on nothing else.
struct RunState {
    let step: Int
    let seed: UInt64

    /// Keeps the tensors alive while `body` uses the state.
    func with<Value>(_ body: (CheckpointState) throws -> Value) rethrows -> Value {
        let weights = [bytes(4 * 6), bytes(4 * 3), []]
        let moments = [bytes(4 * 6), bytes(4 * 3)]
        return try weights[0].withUnsafeBytes { weight in
            try weights[1].withUnsafeBytes { bias in
                try moments[0].withUnsafeBytes { moment in
                    try body(
                        CheckpointState(
                            step: step, epoch: step / 300, stepInEpoch: step % 300,
                            recipe: ["model": "mlp", "hidden": [6, 3], "learning_rate": 0.1, "seed": .init(integer: seed)],
                            weights: [
                                StoredTensor(name: "weight", type: .float32, shape: [2, 3], bytes: weight),
                                StoredTensor(name: "bias", type: .float32, shape: [3], bytes: bias),
                                StoredTensor(name: "none", type: .float32, shape: [0], bytes: .init(start: nil, count: 0)),
                            ],
                            optimizer: [StoredTensor(name: "weight.m", type: .float32, shape: [2, 3], bytes: moment)],
                            lockstepVersion: "1.2.3"))
                }
            }
        }
    }

    private func bytes(_ count: Int) -> [UInt8] {
        var random = SeededGenerator(seed: seed &+ UInt64(count))
        return (0..<count).map { _ in UInt8.random(in: 0...255, using: &random) }
    }

    /// Whether a checkpoint is this state, to the last byte.
    func matches(_ checkpoint: Checkpoint) throws -> Bool {
        try with { state in
            let weights = try checkpoint.weights()
            let optimizer = try checkpoint.optimizer()
            let manifest = checkpoint.manifest
            return try manifest.step == state.step && manifest.epoch == state.epoch
                && manifest.stepInEpoch == state.stepInEpoch && manifest.recipe == state.recipe
                && manifest.weightsDigest == Digest.ofWeights(state.weights)
                && weights.tensors.count == 3 && optimizer.tensors.count == 1
                && state.weights.allSatisfy { try weights.bytes($0.info.name) == Array($0.bytes) }
                && state.optimizer.allSatisfy { try optimizer.bytes($0.info.name) == Array($0.bytes) }
        }
    }
}

/// Random numbers that are the same in every run. Source: Vigna's splitmix64.
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) {
        state = seed
    }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}
