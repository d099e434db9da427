import Checkpoints

/// Why a directory in Hugging Face's layout cannot be read or written: one line each.
public enum HuggingFaceError: Error, Sendable, Equatable, CustomStringConvertible {
    /// config.json is not what a GPT-2 that can be run here has.
    case configuration(path: String, reason: String)
    /// The index of a model in several files is not one.
    case index(path: String, reason: String)
    /// There are no weights in the directory.
    case noWeights(directory: String)
    /// A tensor is missing or not what the configuration says.
    case tensor(path: String, name: String, reason: String)
    /// There is a model already where one should be written.
    case occupied(path: String)
    /// A file could not be read or written.
    case file(CheckpointError)

    public var description: String {
        switch self {
        case .configuration(let path, let reason):
            "\(path) is not the configuration of a GPT-2 that can be read: \(reason)"
        case .index(let path, let reason):
            "\(path) is not an index of safetensors files: \(reason)"
        case .noWeights(let directory):
            "\(directory) has neither model.safetensors nor model.safetensors.index.json: save the model with "
                + "safe_serialization, and give the directory that holds it"
        case .tensor(let path, let name, let reason):
            "\(path): tensor \"\(name)\" \(reason)"
        case .occupied(let path):
            "\(path) exists already: choose another directory, or remove it"
        case .file(let error):
            error.description
        }
    }
}
