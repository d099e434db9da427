/// Where a run stands: all that a checkpoint keeps.
public struct CheckpointState {
    /// The number of steps committed.
    public var step: Int
    /// The epoch of the next step, from 0.
    public var epoch: Int
    /// The number of the next step within its epoch, from 0.
    public var stepInEpoch: Int
    /// Whatever the trainer needs to go on, or to build the same model.
    public var recipe: JSONValue
    /// The model's parameters, by name.
    public var weights: [StoredTensor]
    /// The optimizer's state, by name.
    public var optimizer: [StoredTensor]
    /// The version of Lockstep, for the record.
    public var lockstepVersion: String
    /// The number of the rules by which the run computes; nil is stored as nothing.
    public var arithmetic: Int?

    /// Tensors are borrowed: what they view must live until the checkpoint has been written or copied.
    public init(
        step: Int, epoch: Int, stepInEpoch: Int, recipe: JSONValue, weights: [StoredTensor], optimizer: [StoredTensor],
        lockstepVersion: String, arithmetic: Int? = nil
    ) {
        self.step = step
        self.epoch = epoch
        self.stepInEpoch = stepInEpoch
        self.recipe = recipe
        self.weights = weights
        self.optimizer = optimizer
        self.lockstepVersion = lockstepVersion
        self.arithmetic = arithmetic
    }
}
