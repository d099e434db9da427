import ArgumentParser
import Lockstep

struct TrainDigits: ParsableCommand {
    static let defaults = TaskDefaults(
        length: .epochs(60), globalBatch: 64, microBatch: 8, learningRate: 0.1, optimizer: .sgd, decay: .cosine, dropout: 0.4)

    static let configuration = CommandConfiguration(
        commandName: "digits", abstract: "Handwritten digits, 8x8, embedded in this program: no data needed.",
        discussion: "Unless given: \(defaults.flags) --model mlp --hidden 256; other models have no dropout unless given")

    @OptionGroup var model: ImageModelOptions
    @OptionGroup var options: TrainingOptions

    func validate() throws {
        try Self.defaults.check(options)
        try model.check(usual: .mlp, options)
    }

    func run() throws {
        try asTrainer(options) { ring in
            let digits = Digits()
            let network = try model.network(digits.training, usual: .mlp, hidden: [256], dropout: Self.defaults.dropout, options: options)
            try ImageTask(name: "digits", training: digits.training, test: digits.test, model: network)
                .run(options, Self.defaults, ring)
        }
    }
}

struct TrainMNIST: ParsableCommand {
    static let defaults = TaskDefaults(
        length: .epochs(10), globalBatch: 128, microBatch: 32, learningRate: 0.1, optimizer: .sgd, decay: .cosine)

    static let configuration = CommandConfiguration(
        commandName: "mnist", abstract: "Images in MNIST's IDX files, with or without .gz.",
        discussion: "Unless given: \(defaults.flags) --model mlp --hidden 512,512")

    @Option(help: "Directory with train-images-idx3-ubyte and the other three files.")
    var data: String

    @OptionGroup var model: ImageModelOptions
    @OptionGroup var options: TrainingOptions

    func validate() throws {
        try requirePath(data, "--data")
        try Self.defaults.check(options)
        try model.check(usual: .mlp, options)
    }

    func run() throws {
        try asTrainer(options) { ring in
            let mnist = try ring.together("reading the data") { try MNIST(directory: data) }
            let network = try model.network(mnist.training, usual: .mlp, hidden: [512, 512], dropout: Self.defaults.dropout, options: options)
            try ImageTask(name: "mnist", training: mnist.training, test: mnist.test, model: network)
                .run(options, Self.defaults, ring)
        }
    }
}

struct TrainCIFAR10: ParsableCommand {
    static let defaults = TaskDefaults(
        length: .epochs(20), globalBatch: 128, microBatch: 64, learningRate: 0.1, optimizer: .sgd, weightDecay: 5e-4,
        warmupSteps: 200, decay: .cosine)

    static let configuration = CommandConfiguration(
        commandName: "cifar10", abstract: "CIFAR-10's images, 32x32 in colour, in its binary version.",
        discussion: "Unless given: \(defaults.flags) --model resnet --blocks 1")

    @Option(help: "Directory with data_batch_1.bin to data_batch_5.bin and test_batch.bin, or the one above it.")
    var data: String

    @OptionGroup var model: ImageModelOptions
    @OptionGroup var options: TrainingOptions

    func validate() throws {
        try requirePath(data, "--data")
        try Self.defaults.check(options)
        try model.check(usual: .resnet, options)
    }

    func run() throws {
        try asTrainer(options) { ring in
            let cifar = try ring.together("reading the data") { try CIFAR10(directory: data) }
            let network = try model.network(cifar.training, usual: .resnet, hidden: [512, 512], dropout: Self.defaults.dropout, options: options)
            try ImageTask(name: "cifar10", training: cifar.training, test: cifar.test, model: network)
                .run(options, Self.defaults, ring)
        }
    }
}
