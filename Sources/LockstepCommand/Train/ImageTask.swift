import ArgumentParser
import Lockstep
import Processes

/// Classifies images.
struct ImageTask {
    let name: String
    let training: LabelledImages
    let test: LabelledImages
    let model: ImageModel

    func run(_ options: TrainingOptions, _ defaults: TaskDefaults, _ ring: Ring) throws {
        // Whatever is wrong is told once, and not by each rank.
        let (recipe, optimizer) = try ring.together("planning the run") {
            let recipe = try defaults.recipe(options, sampleCount: training.count)
            let optimizer = try defaults.optimizer(options)
            let counts = model.network.namedParameters().map { Double($0.parameter.count) }
            var need = MemoryNeed.training(parameters: counts.reduce(0, +), options, optimizer, ring)
            need.gradientBytes = 4 * (counts.max() ?? 0)
            try requireMemory(need)
            return (recipe, optimizer)
        }
        let trainer = try Trainer(model: model.network, data: training, optimizer: optimizer, recipe: recipe, ring: ring) {
            batch, tape in softmaxCrossEntropy(model.logits(batch, tape), tape.indices(batch.labels, [batch.count]))
        }
        var description = recipe.description(optimizer: optimizer)
        description["task"] = .string(name)
        description["model"] = model.recipe
        description["data_crc32"] = .integer(Int(training.checksum))
        let run = TaskRun(
            options: options, ring: ring, trainer: trainer, validation: test,
            score: { batch, tape in
                let logits = model.logits(batch, tape)
                let loss = softmaxCrossEntropy(logits, tape.indices(batch.labels, [batch.count]))
                return Score(loss: loss, correct: correct(logits, batch.labels))
            },
            recipe: description, items: "samples", validationName: "test")
        try run.run()
    }

    /// Rows whose largest logit, the first if there are several, is that of the label.
    private func correct(_ logits: Tensor, _ labels: [Int32]) -> Int {
        let values = logits.values
        let classes = training.classes
        return labels.indices.count { row in
            let scores = values[(row * classes)..<((row + 1) * classes)]
            // None is the largest where a model has come apart into NaN.
            guard let largest = scores.max(), let best = scores.firstIndex(of: largest) else { return false }
            return best - scores.startIndex == Int(labels[row])
        }
    }
}
