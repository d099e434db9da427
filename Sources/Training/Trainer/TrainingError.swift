import Checkpoints
import Tensors

/// Why training cannot go on. Whatever was committed before is as it was.
public enum TrainingError: Error, Equatable, CustomStringConvertible {
    /// A gradient became NaN or infinite.
    case gradientNotFinite(step: Int, microBatch: Int, rank: Int, parameter: String)
    /// A loss became NaN or infinite while its gradients were finite.
    case lossNotFinite(step: Int, microBatch: Int, rank: Int)
    /// A step's micro-batches together weigh nothing, so that there is no mean gradient.
    case noWeight(step: Int)
    /// The two forward passes of a micro-batch that a global loss needs gave different representations.
    case representationsDiffer(step: Int, microBatch: Int)
    /// Ranks were started with different things that must be the same.
    case ranksDiffer(rank: Int, what: String)
    /// Ranks that had the same state have come to differ: a computer has miscalculated. `ranks` are those that differ from most.
    case diverged(step: Int, ranks: [Int], tensor: String, sameAtStep: Int)
    /// Both ranks that had a part of the optimizer's state are lost, and there is no checkpoint.
    case stateLost(step: Int)
    /// A checkpoint's tensors are not this model's.
    case otherModel(path: String, difference: String)
    /// A checkpoint lacks what the optimizer needs.
    case otherOptimizer(path: String, difference: String)
    /// A checkpoint's run computed by other rules than this build, numbered `found`; nil for runs of before there were
    /// numbers. `version` is that of the Lockstep that wrote it.
    case otherArithmetic(path: String, found: Int?, version: String)
    case checkpoint(CheckpointError)

    public var description: String {
        switch self {
        case .gradientNotFinite(let step, let microBatch, let rank, let parameter):
            "step \(step), micro-batch \(microBatch), rank \(rank): the gradient of \(parameter) is NaN or infinite; nothing of this step "
                + "was kept; try a smaller --learning-rate, or --clip-norm"
        case .lossNotFinite(let step, let microBatch, let rank):
            "step \(step), micro-batch \(microBatch), rank \(rank): the loss is NaN or infinite; nothing of this step was kept; "
                + "try a smaller --learning-rate, or --clip-norm"
        case .noWeight(let step):
            "step \(step): the losses of all its micro-batches have weight 0, so there is nothing to learn from"
        case .representationsDiffer(let step, let microBatch):
            "step \(step), micro-batch \(microBatch): the representation is another the second time; it must be a function of the "
                + "batch, the pass and the model only"
        case .ranksDiffer(let rank, let what):
            "rank \(rank) has \(what) other than rank 0's: start every rank with the same program, flags and data"
        case .diverged(let step, let ranks, let tensor, let sameAtStep):
            "after step \(step) \(ranks.count == 1 ? "rank" : "ranks") \(ranks.map(String.init).joined(separator: ", ")) "
                + "\(ranks.count == 1 ? "has" : "have") another \(tensor) than \(ranks.count == 1 ? "the others" : "one another"), which was the same "
                + "after step \(sameAtStep): a processor or memory there is faulty; no checkpoint was written since"
        case .stateLost(let step):
            "after step \(step) a part of the optimizer's state was lost with both workers that had it, and there is no checkpoint to go "
                + "back to: give --out and --checkpoint-every with --shard-optimizer"
        case .otherModel(let path, let difference):
            "\(path) is a checkpoint of another model: \(difference)"
        case .otherOptimizer(let path, let difference):
            "\(path) was made with another optimizer: \(difference)"
        case .otherArithmetic(let path, let found, let version):
            "\(path) was made with \(found.map { "arithmetic \($0)" } ?? "an arithmetic that depends on the CPU"), this build computes with "
                + "arithmetic \(Arithmetic.version), and a run that changed would have the bits of neither: go on with the Lockstep \(version) "
                + "that made it, or begin another run; its weights can be used"
        case .checkpoint(let error):
            error.description
        }
    }
}
