import ArgumentParser
import Lockstep

/// Classifies images with a multi-layer perceptron.
struct ImageTask {
    let name: String
    let training: LabelledImages
    let test: LabelledImages
    let hidden: [Int]

    /// Linear layers with ReLU, and dropout after each but the last.
    struct Classifier: Module {
        let layers: [Linear]
        let dropout: Float

        init(inputs: Int, hidden: [Int], outputs: Int, dropout: Float) {
            layers = MLP(inputs: inputs, hidden: hidden, outputs: outputs).layers
            self.dropout = dropout
        }

        /// Logits (B, classes) of images (B, pixels).
        func callAsFunction(_ images: Tensor) -> Tensor {
            var x = images
            for layer in layers.dropLast() { x = layer(x, activation: .relu).dropout(dropout) }
            return layers[layers.count - 1](x)
        }
    }

    func run(_ options: TrainingOptions, _ defaults: TaskDefaults, _ ring: Ring) throws {
        let recipe = try defaults.recipe(options, sampleCount: training.count)
        let optimizer = try defaults.optimizer(options)
        let pixels = training.channels * training.height * training.width
        let dropout = options.dropout ?? defaults.dropout
        let sizes = ([pixels] + hidden + [training.classes]).map(Double.init)
        try requireMemory(forParameters: zip(sizes, sizes.dropFirst()).reduce(0) { $0 + ($1.0 + 1) * $1.1 })
        let model = Classifier(inputs: pixels, hidden: hidden, outputs: training.classes, dropout: dropout)
        let trainer = try Trainer(model: model, data: training, optimizer: optimizer, recipe: recipe, ring: ring) { batch, tape in
            softmaxCrossEntropy(model(tape.input(batch.pixels, [batch.count, pixels])), tape.indices(batch.labels, [batch.count]))
        }
        var description = recipe.description(optimizer: optimizer)
        description["task"] = .string(name)
        description["model"] = [
            "kind": "mlp", "inputs": .integer(pixels), "hidden": .array(hidden.map { .integer($0) }),
            "outputs": .integer(training.classes), "dropout": .double(Double(dropout)),
        ]
        description["data_crc32"] = .integer(Int(training.checksum))
        description["threads_per_worker"] = .integer(options.threadsPerWorker)
        let run = TaskRun(
            options: options, ring: ring, trainer: trainer, validation: test,
            score: { batch, tape in
                let logits = model(tape.input(batch.pixels, [batch.count, pixels]))
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
