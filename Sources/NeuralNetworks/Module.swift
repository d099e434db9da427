import Tensors

/// A model or a part of one: a class or struct whose properties are `Parameter`s, other modules, or arrays, optionals
/// and dictionaries of these. There is nothing to register and nothing to override: write initialisers and a forward
/// function.
///
///     struct Classifier: Module {
///         let hidden = Linear(784, 128)
///         let output = Linear(128, 10)
///         func callAsFunction(_ images: Tensor) -> Tensor { output(hidden(images).relu()) }
///     }
public protocol Module {}

/// A module that maps one tensor to another: what `Sequential` and `Residual` are made of.
public protocol Layer: Module {
    /// The forward pass.
    func callAsFunction(_ input: Tensor) -> Tensor
}

extension Module {
    /// Every parameter with the path of property names and array indices to it, `blocks.0.attention.qkv.weight`, in
    /// the order of the declarations. A parameter that is reached twice comes twice.
    public func namedParameters() -> [(name: String, parameter: Parameter)] {
        var found: [(name: String, parameter: Parameter)] = []
        collect(from: self, path: "", into: &found)
        return found
    }
}

extension ParameterArena {
    /// Lays out a model's parameters and draws their first values from the seed.
    public convenience init(_ model: some Module, seed: UInt64) {
        self.init(model.namedParameters(), seed: seed)
    }
}

private func collect(from value: Any, path: String, into found: inout [(name: String, parameter: Parameter)]) {
    if let parameter = value as? Parameter {
        found.append((path, parameter))
        return
    }
    let mirror = Mirror(reflecting: value)
    switch mirror.displayStyle {
    case .optional:
        if let wrapped = mirror.children.first?.value { collect(from: wrapped, path: path, into: &found) }
    case .collection, .tuple:
        for (index, child) in mirror.children.enumerated() {
            collect(from: child.value, path: joined(path, "\(index)"), into: &found)
        }
    case .dictionary:
        // A dictionary's own order changes from run to run.
        var entries: [(String, Any)] = []
        for child in mirror.children {
            let pair = Array(Mirror(reflecting: child.value).children)
            entries.append(("\(pair[0].value)", pair[1].value))
        }
        for (key, value) in entries.sorted(by: { $0.0 < $1.0 }) {
            collect(from: value, path: joined(path, key), into: &found)
        }
    default:
        guard value is any Module else { return }
        var ancestor: Mirror? = mirror
        var levels: [Mirror] = []
        while let level = ancestor {
            levels.append(level)
            ancestor = level.superclassMirror
        }
        for level in levels.reversed() {
            for child in level.children {
                collect(from: child.value, path: joined(path, child.label ?? "_"), into: &found)
            }
        }
    }
}

private func joined(_ path: String, _ label: String) -> String { path.isEmpty ? label : "\(path).\(label)" }
