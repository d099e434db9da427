import NeuralNetworks
import Tensors

/// A tensor of transformers' GPT2LMHeadModel, and the parameter of `GPT` that it is.
struct GPT2Tensor {
    /// Without the "transformer." that all but the head have in files of the whole model.
    let name: String
    /// Nil for a bias that this model does without, which is zeros in GPT-2.
    let parameter: Parameter?
    /// The shape in the file.
    let shape: [Int]
    /// Whether the file has the transpose: GPT-2's "Conv1D" keeps its weights as (inputs, outputs).
    let isTransposed: Bool

    static let prefix = "transformer."
    static let headName = "lm_head.weight"
    static let embeddingName = "wte.weight"

    /// The name in a file of the whole model.
    var fullName: String { name == Self.headName ? name : Self.prefix + name }

    /// All tensors of a model, in the order of its layers.
    static func all(of model: GPT) -> [GPT2Tensor] {
        var tensors: [GPT2Tensor] = []
        func add(_ name: String, _ parameter: Parameter) {
            tensors.append(GPT2Tensor(name: name, parameter: parameter, shape: parameter.shape, isTransposed: false))
        }
        func addBias(_ name: String, _ bias: Parameter?, count: Int) {
            tensors.append(GPT2Tensor(name: "\(name).bias", parameter: bias, shape: [count], isTransposed: false))
        }
        func add(_ name: String, _ norm: LayerNorm) {
            add("\(name).weight", norm.weight)
            addBias(name, norm.bias, count: norm.weight.count)
        }
        func add(_ name: String, _ linear: Linear) {
            let shape = Array(linear.weight.shape.reversed())
            tensors.append(
                GPT2Tensor(name: "\(name).weight", parameter: linear.weight, shape: shape, isTransposed: true))
            addBias(name, linear.bias, count: linear.weight.shape[0])
        }
        add(embeddingName, model.tokenEmbedding.weight)
        add("wpe.weight", model.positionEmbedding.weight)
        for (index, block) in model.blocks.enumerated() {
            add("h.\(index).ln_1", block.attentionNorm)
            add("h.\(index).attn.c_attn", block.attention.qkv)
            add("h.\(index).attn.c_proj", block.attention.projection)
            add("h.\(index).ln_2", block.mlpNorm)
            add("h.\(index).mlp.c_fc", block.mlp.up)
            add("h.\(index).mlp.c_proj", block.mlp.down)
        }
        add("ln_f", model.finalNorm)
        if let head = model.head { add(headName, head.weight) }
        return tensors
    }
}
