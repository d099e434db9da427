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
            let network = try ring.together("building the model") {
                try model.network(digits.training, usual: .mlp, hidden: [256], dropout: Self.defaults.dropout, options: options)
            }
            try ImageTask(name: "digits", training: digits.training, test: digits.test, model: network)
                .run(options, Self.defaults, ring)
        }
    }
}

typealias TrainMNIST = TrainImages<MNISTSource>
typealias TrainCIFAR10 = TrainImages<CIFAR10Source>

/// A task on images that stand in the files of a directory.
struct TrainImages<Source: ImageSource>: ParsableCommand {
    static var configuration: CommandConfiguration {
        CommandConfiguration(
            commandName: Source.name, abstract: Source.abstract,
            discussion: "Unless given: \(Source.defaults.flags) --model \(Source.usual.rawValue) \(Source.usualModelFlags)")
    }

    @Option(help: Source.dataHelp)
    var data: String

    @OptionGroup var model: ImageModelOptions
    @OptionGroup var options: TrainingOptions

    func validate() throws {
        try requirePath(data, "--data")
        try Source.defaults.check(options)
        try model.check(usual: Source.usual, options)
    }

    func run() throws {
        try asTrainer(options) { ring in
            let images = try ring.together("reading the data") { try Source.images(in: data) }
            if ring.isFirst { for note in images.notes { printError(note) } }
            let network = try ring.together("building the model") {
                try model.network(
                    images.training, usual: Source.usual, hidden: [512, 512], dropout: Source.defaults.dropout, options: options)
            }
            try ImageTask(name: Source.name, training: images.training, test: images.test, model: network)
                .run(options, Source.defaults, ring)
        }
    }
}

/// Images to train on and to test with.
struct ImageSets {
    let training: LabelledImages
    let test: LabelledImages
    /// What people should know of them, a line each.
    var notes: [String] = []
}

/// Where a task's images come from, and what is used for flags that are not given.
protocol ImageSource {
    /// The task's name.
    static var name: String { get }
    static var abstract: String { get }
    static var dataHelp: ArgumentHelp { get }
    static var defaults: TaskDefaults { get }
    static var usual: ImageModelOptions.Kind { get }
    /// The flags of the usual model that would say the same: for help.
    static var usualModelFlags: String { get }
    static func images(in directory: String) throws -> ImageSets
}

enum MNISTSource: ImageSource {
    static let name = "mnist"
    static let abstract = "Images in MNIST's IDX files, with or without .gz."
    static let dataHelp: ArgumentHelp = "Directory with train-images-idx3-ubyte and the other three files."
    static let defaults = TaskDefaults(
        length: .epochs(10), globalBatch: 128, microBatch: 32, learningRate: 0.1, optimizer: .sgd, decay: .cosine)
    static let usual = ImageModelOptions.Kind.mlp
    static let usualModelFlags = "--hidden 512,512"

    static func images(in directory: String) throws -> ImageSets {
        let mnist = try MNIST(directory: directory)
        return ImageSets(training: mnist.training, test: mnist.test)
    }
}

enum CIFAR10Source: ImageSource {
    static let name = "cifar10"
    static let abstract = "CIFAR-10's images, 32x32 in colour, in its binary version."
    static let dataHelp: ArgumentHelp = "Directory with data_batch_1.bin to data_batch_5.bin and test_batch.bin, or the one above it."
    static let defaults = TaskDefaults(
        length: .epochs(20), globalBatch: 128, microBatch: 64, learningRate: 0.1, optimizer: .sgd, weightDecay: 5e-4,
        warmupSteps: 200, decay: .cosine)
    static let usual = ImageModelOptions.Kind.resnet
    static let usualModelFlags = "--blocks 1"

    static func images(in directory: String) throws -> ImageSets {
        let cifar = try CIFAR10(directory: directory)
        return ImageSets(training: cifar.training, test: cifar.test, notes: cifar.notes)
    }
}
