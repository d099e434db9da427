extension Tensor {
    /// The result of `body`, of which the backward pass remembers the receiver only: it runs `body` a second time for what lies between
    /// (gradient checkpointing).
    ///
    /// For one more forward pass, a deep model needs the memory of one such region and of the regions' inputs, instead of that of
    /// all its activations:
    ///
    ///     for block in blocks { x = x.recomputing { block($0) } }
    ///
    /// The second run draws the same random numbers and its steps run backward in the same order, so that values and gradients are
    /// the same bits as without. Regions may hold regions. `body` must compute the same operations each time; it is kept until the
    /// backward pass has used it, and so are tensors from outside that it refers to.
    ///
    /// Source: T. Chen et al., "Training deep nets with sublinear memory cost", arXiv:1604.06174.
    public func recomputing(_ body: @escaping (Tensor) -> Tensor) -> Tensor { tape.recompute(self, body) }
}
