import CTensorKernels
import Processes

/// Records the operations of a forward pass and runs them backward.
///
///     let tape = Tape(parameters: arena)
///     tape.begin(Pass(seed: 7, step: 0, microBatch: 3, isTraining: true))
///     let loss = softmaxCrossEntropy(model(tape.input(images, [64, 784])), tape.indices(labels, [64]))
///     tape.backward(from: loss) { parameter, gradient in /* it is final: its memory is given back on return */ }
///
/// One tape serves a whole run: the memory of one pass is used again by the next. A tape, its tensors and the
/// parameters they use are confined to one thread. There is no current tape: operations take it from their operands.
///
/// The thread that makes a tape computes, and takes no signals from then on: a thread of their own does.
public final class Tape {
    public private(set) var pass = Pass.inference
    private let arena: ParameterArena?
    private let allocator = CachingAllocator()
    private var steps: [Step] = []
    private var gradients: ParameterGradients
    /// Operations of this pass that drew random numbers so far: what tells one dropout layer from the next.
    private var randomOperations: UInt32 = 0
    /// What the region that is being run without recording was seen to use; nil outside of one.
    private var region: Region?
    let precision: Precision
    /// The weight of the loss whose backward pass runs: what statistics are multiplied by.
    private(set) var statisticsWeight: Float = 1

    /// What one recorded operation needs to run backward.
    private struct Step {
        let output: GradientSlot
        let parameters: [Parameter]
        /// Takes the output's gradient, which it may change when it holds the only reference to it.
        let backward: (inout Storage) -> Void
    }

    /// What a region of recomputed operations depends on.
    private struct Region {
        var parameters: [Parameter] = []
        /// Whether a gradient of its result leads anywhere.
        var passesBack = false
    }

    /// A tape for a model whose parameters are in `arena`; without one, parameters cannot be used.
    public init(parameters arena: ParameterArena? = nil, precision: Precision = .float32) {
        ComputeThread.enterIfPossible()
        self.arena = arena
        self.precision = precision
        gradients = ParameterGradients(count: arena?.parameters.count ?? 0)
    }

    /// Starts a pass: forgets what was recorded before. Tensors of earlier passes stay readable, but nothing computed
    /// from them passes gradients back to before this call.
    public func begin(_ pass: Pass) {
        self.pass = pass
        steps.removeAll(keepingCapacity: true)
        gradients.begin()
        randomOperations = 0
    }

    /// Whether operations are recorded: while training, outside of what `recomputing` runs for the first time.
    public var isRecording: Bool { pass.isTraining && region == nil }

    /// Bytes that tensors and gradients of this tape took from the system so far: its high-water mark.
    public var reservedBytes: Int { allocator.reservedBytes }

    /// How often the system was asked for memory: constant once every shape has been seen.
    package var systemAllocations: Int { allocator.systemAllocations }

    // MARK: Inputs

    /// A tensor with a copy of these elements, in row-major order.
    public func input(_ elements: UnsafeBufferPointer<Float>, _ shape: [Int]) -> Tensor {
        precondition(shape.reduce(1, *) == elements.count, "\(elements.count) elements do not fill shape \(shape)")
        let storage = allocate(elements.count)
        if let base = elements.baseAddress { storage.floats.update(from: base, count: elements.count) }
        return Tensor(shape: shape, tape: self, storage: storage, slot: nil)
    }

    /// A tensor with a copy of these elements, in row-major order.
    public func input(_ elements: [Float], _ shape: [Int]) -> Tensor {
        elements.withUnsafeBufferPointer { input($0, shape) }
    }

    /// Whole numbers, copied, in row-major order.
    public func indices(_ elements: UnsafeBufferPointer<Int32>, _ shape: [Int]) -> Indices {
        precondition(shape.reduce(1, *) == elements.count, "\(elements.count) elements do not fill shape \(shape)")
        let storage = allocate(elements.count)
        if let base = elements.baseAddress { storage.integers.update(from: base, count: elements.count) }
        return Indices(shape: shape, tape: self, storage: storage)
    }

    /// Whole numbers, copied, in row-major order.
    public func indices(_ elements: [Int32], _ shape: [Int]) -> Indices {
        elements.withUnsafeBufferPointer { indices($0, shape) }
    }

    /// A tensor that collects a gradient, read by `gradient(of:)` after the backward pass: for losses that need the
    /// gradient of a representation, and for tests.
    public func variable(_ elements: [Float], _ shape: [Int]) -> Tensor {
        let tensor = input(elements, shape)
        return Tensor(shape: shape, tape: self, storage: tensor.storage, slot: GradientSlot(count: tensor.count))
    }

    /// The gradient that the last backward pass left with a variable; zeros when it does not depend on it. Taken out:
    /// asking again gives zeros.
    public func gradient(of variable: Tensor) -> [Float] {
        guard let gradient = variable.slot?.take() else { return Array(repeating: 0, count: variable.count) }
        return Array(UnsafeBufferPointer(start: gradient.floats, count: variable.count))
    }

    // MARK: Backward

    /// Computes the gradient of the loss' sum with respect to every parameter of the arena.
    ///
    /// `gradientReady` gets each parameter's gradient exactly once, as soon as nothing that is still to run can change
    /// it, in an order that only the operations recorded decide; parameters that the loss does not depend on come with
    /// zeros, those never used last. The gradient's memory is the callee's until it returns: it is taken when the first
    /// contribution is written, so that there is never a gradient of every parameter. What was recorded is used up:
    /// activations are given back on the way.
    public func backward(from loss: Loss, gradientReady: (Parameter, UnsafeMutableBufferPointer<Float>) -> Void) {
        backward(
            from: loss.sum, gradient: CollectionOfOne(1), weight: loss.weight, keepsGradients: false, gradientReady)
    }

    /// Continues a backward pass that was begun elsewhere: `gradient` is that of `output`, element by element. `weight`
    /// is that of this pass's share of the loss, for what statistics observe.
    public func backward(
        from output: Tensor, gradient: UnsafeBufferPointer<Float>, weight: Double = 1,
        gradientReady: (Parameter, UnsafeMutableBufferPointer<Float>) -> Void
    ) {
        backward(from: output, gradient: gradient, weight: weight, keepsGradients: false, gradientReady)
    }

    /// The same with all gradients kept: they overwrite what was in `ParameterArena.gradients`, and `parameterReady` is
    /// called for each when it stands there.
    public func backward(from loss: Loss, parameterReady: (Parameter) -> Void = { _ in }) {
        backward(from: loss.sum, gradient: CollectionOfOne(1), weight: loss.weight, keepsGradients: true) { ready, _ in
            parameterReady(ready)
        }
    }

    /// The same for a tensor of one element.
    public func backward(from scalar: Tensor, parameterReady: (Parameter) -> Void = { _ in }) {
        backward(from: scalar, gradient: CollectionOfOne(1), weight: 1, keepsGradients: true) { parameter, _ in
            parameterReady(parameter)
        }
    }

    /// The same for a pass that was begun elsewhere.
    public func backward(
        from output: Tensor, gradient: UnsafeBufferPointer<Float>, weight: Double = 1,
        parameterReady: (Parameter) -> Void = { _ in }
    ) {
        backward(from: output, gradient: gradient, weight: weight, keepsGradients: true) { parameter, _ in
            parameterReady(parameter)
        }
    }

    private func backward(
        from output: Tensor, gradient: some Collection<Float>, weight: Double, keepsGradients: Bool,
        _ gradientReady: (Parameter, UnsafeMutableBufferPointer<Float>) -> Void
    ) {
        precondition(isRecording, "nothing was recorded: the pass is not for training")
        precondition(gradient.count == output.count, "\(gradient.count) gradients for shape \(output.shape)")
        statisticsWeight = Float(weight)
        defer { statisticsWeight = 1 }
        gradients.areKept = keepsGradients
        if let slot = output.slot {
            let storage = allocate(output.count)
            _ = UnsafeMutableBufferPointer(start: storage.floats, count: output.count).update(fromContentsOf: gradient)
            slot.add(storage, on: self)
        }
        while let step = steps.popLast() {
            if var gradient = step.output.take() { step.backward(&gradient) }
            for parameter in step.parameters where gradients.hasUsed(parameter) { finish(parameter, gradientReady) }
        }
        for parameter in arena?.parameters ?? [] where gradients.isUnused(parameter) {
            finish(parameter, gradientReady)
        }
    }

    private func finish(
        _ parameter: Parameter, _ gradientReady: (Parameter, UnsafeMutableBufferPointer<Float>) -> Void
    ) {
        gradientReady(parameter, gradients.finish(parameter, on: self))
        gradients.release(parameter)
    }

    // MARK: For operations

    /// Memory for `count` floats or whole numbers, contents undefined.
    func allocate(_ count: Int) -> Storage {
        Storage(byteCount: count * MemoryLayout<Float>.stride, allocator: allocator)
    }

    /// A result that is about to be computed from these operands: with a gradient slot if any of them passes one
    /// back.
    func result(_ shape: [Int], of operands: [Tensor], parameters: [Parameter] = []) -> Tensor {
        result(shape, of: operands, parameters: parameters, storage: allocate(shape.reduce(1, *)))
    }

    /// The same in memory that is there already.
    func result(_ shape: [Int], of operands: [Tensor], parameters: [Parameter] = [], storage: Storage) -> Tensor {
        for operand in operands { precondition(operand.tape === self, "operands belong to different tapes") }
        let passesBack = pass.isTraining && (!parameters.isEmpty || operands.contains { $0.slot != nil })
        if passesBack, region != nil { region!.passesBack = true }
        let slot = passesBack && isRecording ? GradientSlot(count: shape.reduce(1, *)) : nil
        return Tensor(shape: shape, tape: self, storage: storage, slot: slot)
    }

    /// Notes how to run an operation backward; nothing when its result has no gradient slot.
    func record(_ result: Tensor, parameters: [Parameter] = [], backward: @escaping (inout Storage) -> Void) {
        if region != nil { region!.parameters += parameters }
        guard let slot = result.slot else { return }
        for parameter in parameters {
            precondition(arena?.holds(parameter) == true, "parameter \(parameter.name) is not in this tape's arena")
            gradients.willUse(parameter)
        }
        steps.append(Step(output: slot, parameters: parameters, backward: backward))
    }

    /// Runs `body` and keeps none of what it computes but the result: see `Tensor.recomputing`.
    func recompute(_ input: Tensor, _ body: @escaping (Tensor) -> Tensor) -> Tensor {
        guard isRecording else { return body(input) }
        let firstRandomOperation = randomOperations
        region = Region()
        let values = body(input)
        let used = region!
        region = nil
        guard used.passesBack else { return values }
        var seen: Set<Int> = []
        let parameters = used.parameters.filter { seen.insert($0.index).inserted }
        let slot = GradientSlot(count: values.count)
        let y = Tensor(shape: values.shape, tape: self, storage: values.storage, slot: slot)
        // The steps that the second run records stand on top of this one's place, and so run next, in the order in which they would
        // have without it: sums of gradients are the same bits. The parameters are held by this step until those hold them.
        record(y, parameters: parameters) { [unowned self] dy in
            let later = randomOperations
            randomOperations = firstRandomOperation
            let again = body(input)
            randomOperations = later
            again.slot?.add(dy, on: self)
        }
        return y
    }

    /// Where to write a parameter's gradient: overwriting the first time in a pass, adding after that.
    func gradientDestination(of parameter: Parameter) -> (values: UnsafeMutablePointer<Float>, accumulate: Bool) {
        gradients.destination(of: parameter, on: self)
    }

    /// The random numbers of the next operation that draws some.
    func nextRandomStream() -> RandomStream {
        defer { randomOperations += 1 }
        return RandomStream(
            seed: pass.seed, purpose: .dropout, randomOperations, UInt32(truncatingIfNeeded: pass.microBatch),
            UInt32(truncatingIfNeeded: pass.step))
    }
}
