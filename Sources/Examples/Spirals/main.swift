import Lockstep

/// Points on two interleaved spirals: on which of them is a point?
struct Points: Dataset {
    let count = 2000
    let itemsPerSample = 1

    func batch(epoch: Int, _ samples: [Int]) -> (xy: [Float], arm: [Int32]) {
        var xy: [Float] = []
        for sample in samples {
            let turns = Double(sample) * 0.0008
            let radius = sample % 2 == 0 ? turns : -turns
            xy += [Float(radius * PortableMath.cosine(turns: turns)), Float(radius * PortableMath.sine(turns: turns))]
        }
        return (xy, samples.map { Int32($0 % 2) })
    }
}

struct Classifier: Module {
    let layers = Sequential(Linear(2, 64), ReLU(), Linear(64, 64), ReLU(), Linear(64, 2))
    func callAsFunction(_ xy: Tensor) -> Tensor { layers(xy) }
}

runWorker { ring in
    let model = Classifier()
    let recipe = Recipe(globalBatch: 128, microBatch: 16, length: .epochs(40), schedule: Schedule(learningRate: 0.01))
    let trainer = try Trainer(model: model, data: Points(), optimizer: AdamW(), recipe: recipe, ring: ring) { batch, tape in
        let logits = model(tape.input(batch.xy, [batch.arm.count, 2]))
        return softmaxCrossEntropy(logits, tape.indices(batch.arm, [batch.arm.count]))
    }
    try trainer.run { step in
        if trainer.isFirst, step.step % 160 == 0 { print("step \(step.step)  loss \(step.loss)") }
    }
    if trainer.isFirst { print("weights sha256 \(trainer.weightsDigest)") }
}
