import ArgumentParser
import Lockstep

/// `lockstep inspect DIR`.
struct InspectCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "inspect", abstract: "Lists the tensors of a checkpoint: name, shape, type, digest.")

    @Argument(help: "A run's --out directory, one of its checkpoints, or a .safetensors file.")
    var path: String

    @Flag(help: "Also the optimizer's state.")
    var optimizer = false

    func validate() throws {
        if path.isEmpty { throw ValidationError("the path is empty; give a run's --out directory, or one of its checkpoints.") }
    }

    func run() throws {
        if path.hasSuffix(".safetensors") { return try list(SafetensorsReader(path: path, takesUnknownTypes: true)) }
        let (checkpoint, damaged) = try Checkpoint.find(path)
        for one in damaged { printError("\(one.error); an older checkpoint is shown") }
        let manifest = checkpoint.manifest
        printOutput(
            "\(checkpoint.path), step \(manifest.step), epoch \(manifest.epoch), arithmetic \(manifest.arithmetic.map(String.init) ?? "of the CPU"); "
                + "kernels here: \(Kernels.name)")
        try list(checkpoint.weights())
        if optimizer { try list(checkpoint.optimizer()) }
        printOutput("weights sha256 \(checkpoint.manifest.weightsDigest.hex)")
    }

    private func list(_ reader: SafetensorsReader) throws {
        let tensors = reader.tensors.sorted { $0.name < $1.name }
        let nameWidth = tensors.map(\.name.count).max() ?? 0
        let shapes = tensors.map { "[" + $0.shape.map(String.init).joined(separator: ", ") + "]" }
        let shapeWidth = shapes.map(\.count).max() ?? 0
        let typeWidth = max(4, tensors.map(\.type.rawValue.count).max() ?? 0)
        for (tensor, shape) in zip(tensors, shapes) {
            let bytes = try reader.bytes(tensor.name)
            let digest = bytes.withUnsafeBytes { Digest.ofTensor(StoredTensor(info: tensor, bytes: $0)) }
            let columns = [pad(tensor.name, to: nameWidth), pad(shape, to: shapeWidth), pad(tensor.type.rawValue, to: typeWidth), digest.hex]
            printOutput(columns.joined(separator: "  "))
        }
    }

    private func pad(_ text: String, to width: Int) -> String {
        text + String(repeating: " ", count: max(0, width - text.count))
    }
}
