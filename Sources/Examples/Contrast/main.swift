import Glibc
import Lockstep

/// The embedded digits without their labels: of each image two views, moved by up to a pixel and with some noise.
struct DigitViews: Dataset {
    let images = Digits().training
    let seed: UInt64 = 1
    var count: Int { images.count }
    let itemsPerSample = 1

    /// (2 n, 64): the views of a sample stand one after the other. Keyed by epoch and sample, so that any worker draws the same.
    func batch(epoch: Int, _ samples: [Int]) -> [Float] {
        let pixels = images.batch(epoch: epoch, samples).pixels
        return samples.indices.flatMap { index in
            let image = Array(pixels[index * 64..<index * 64 + 64])
            return (0..<2).flatMap { view in
                var random = Generator(state: (seed << 48) ^ UInt64(epoch << 24) ^ UInt64(samples[index] << 1 | view))
                let (right, down) = (random.next(below: 3) - 1, random.next(below: 3) - 1)
                return (0..<64).map { place in
                    let (row, column) = (place / 8 - down, place % 8 - right)
                    let pixel = (0..<8).contains(row) && (0..<8).contains(column) ? image[row * 8 + column] : 0
                    return pixel + 0.2 * (Float(random.next(below: 1 << 16)) / Float(1 << 16) - 0.5)
                }
            }
        }
    }

    /// SplitMix64.
    struct Generator {
        var state: UInt64

        mutating func next(below limit: UInt64) -> Int {
            state &+= 0x9E37_79B9_7F4A_7C15
            var z = state
            z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
            z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
            return Int((z ^ (z >> 31)) % limit)
        }
    }
}

struct Encoder: Module {
    let layers = Sequential(Linear(64, 256), ReLU(), Linear(256, 6))
    func callAsFunction(_ images: Tensor) -> Tensor { layers(images) }
}

/// How often, to three places, the nearest training image, by the encoder's representation, is of a test image's class.
func nearestNeighbourAccuracy(_ encoder: Encoder, _ arena: ParameterArena) -> Double {
    let digits = Digits()
    let tape = Tape(parameters: arena)
    func representations(_ images: LabelledImages) -> (rows: Tensor, labels: [Int32]) {
        let batch = images.batch(epoch: 0, Array(0..<images.count))
        return (encoder(tape.input(batch.pixels, [batch.count, 64])).unitRows(), batch.labels)
    }
    tape.begin(.inference)
    let (known, asked) = (representations(digits.training), representations(digits.test))
    let similarities = asked.rows.matrixProduct(known.rows, transposeOther: true).values
    let right = asked.labels.indices.count { row in
        let scores = similarities[row * known.labels.count..<(row + 1) * known.labels.count]
        return known.labels[scores.firstIndex(of: scores.max()!)! - scores.startIndex] == asked.labels[row]
    }
    return (Double(right) / Double(asked.labels.count) * 1000).rounded() / 1000
}

runWorker { ring in
    let encoder = Encoder()
    let recipe = Recipe(globalBatch: 256, microBatch: 32, length: .epochs(40), schedule: Schedule(learningRate: 0.003))
    let trainer = try Trainer(
        model: encoder, data: DigitViews(), optimizer: AdamW(), recipe: recipe, ring: ring,
        representation: { views, tape in
            let count = views.count / 128
            return encoder(tape.input(views, [2 * count, 64])).reshaped([count, 2, 6])
        },
        globalLoss: { pairs, _ in contrastiveLoss(pairs, temperature: 0.2) })
    if trainer.isFirst { print("1-nearest-neighbour accuracy \(nearestNeighbourAccuracy(encoder, trainer.arena)) at first") }
    try trainer.run { step in
        if trainer.isFirst, step.step % 60 == 0 { print("step \(step.step)  loss \(step.loss)") }
    }
    if trainer.isFirst {
        print("1-nearest-neighbour accuracy \(nearestNeighbourAccuracy(encoder, trainer.arena))")
        print("weights sha256 \(trainer.weightsDigest)")
    }
}
