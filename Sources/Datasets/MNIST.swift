/// MNIST, or any data set in its files (Fashion-MNIST, KMNIST): 60,000 training and 10,000 test images as a rule.
///
/// Four IDX files are read whole from one directory, each under any of its usual names: `train-images-idx3-ubyte` or
/// `train-images.idx3-ubyte`, with `.gz` or without, and likewise `train-labels-idx1-ubyte`, `t10k-images-idx3-ubyte`,
/// `t10k-labels-idx1-ubyte`. A directory of such a name is looked into for a file of the same name, as some archives have it. Pixels are divided by 255 and not normalised further. There are ten classes.
public struct MNIST: Sendable {
    private static let classes = 10

    /// The images to train on.
    public let training: LabelledImages
    /// The images to test with.
    public let test: LabelledImages

    /// Reads and checks all four files.
    ///
    /// - Throws: a `DatasetError` for a file that is missing, cut short, too long, of the wrong kind, damaged, or that does
    ///   not go with the others.
    public init(directory: String) throws(DatasetError) {
        let trainingImages = try MNIST.find("train-images", "idx3-ubyte", in: directory)
        let trainingLabels = try MNIST.find("train-labels", "idx1-ubyte", in: directory)
        let testImages = try MNIST.find("t10k-images", "idx3-ubyte", in: directory)
        let testLabels = try MNIST.find("t10k-labels", "idx1-ubyte", in: directory)
        training = try MNIST.part(images: trainingImages, labels: trainingLabels)
        test = try MNIST.part(images: testImages, labels: testLabels)
        guard training.height == test.height, training.width == test.width else {
            throw .inconsistentImages(
                path: trainingImages, height: training.height, width: training.width,
                otherPath: testImages, otherHeight: test.height, otherWidth: test.width)
        }
    }

    private static func find(_ part: String, _ kind: String, in directory: String) throws(DatasetError) -> String {
        let names = ["-", "."].flatMap { ["\(part)\($0)\(kind)", "\(part)\($0)\(kind).gz"] }
        let paths = names.map { "\(directory)/\($0)" } + names.map { "\(directory)/\($0)/\($0)" }
        if let path = paths.first(where: InputFile.isFile) { return path }
        // Something of that name that is no file is told as what it is.
        if let path = paths.first(where: InputFile.exists) { return path }
        throw .missingFile(directory: directory, names: names)
    }

    private static func part(images: String, labels: String) throws(DatasetError) -> LabelledImages {
        let (dimensions, pixels) = try IDX.read(images, magic: IDX.imagesMagic)
        let (_, classes) = try IDX.read(labels, magic: IDX.labelsMagic)
        guard classes.count == dimensions[0] else {
            throw .inconsistentCounts(
                images: dimensions[0], imagesPath: images, labels: classes.count, labelsPath: labels)
        }
        if let index = classes.firstIndex(where: { $0 >= MNIST.classes }) {
            throw .labelOutOfRange(path: labels, index: index, label: Int(classes[index]), classes: MNIST.classes)
        }
        return LabelledImages(
            pixels: pixels, labels: classes, channels: 1, height: dimensions[1], width: dimensions[2],
            classes: MNIST.classes, scale: 255)
    }
}
