import CTensorKernels

/// oneDNN's primitives for a convolution of one shape, kept by the tape that first met the shape. Used on the tape's thread.
final class ConvolutionPlan {
    /// All that tells one plan from another.
    struct Shape: Hashable {
        var samples: Int
        var height: Int
        var width: Int
        var inputs: Int
        var outputs: Int
        var kernel: Int
        var stride: Int
        var padding: Int
        var hasBias: Bool
        /// Whether gradients will be asked for.
        var isTraining: Bool
    }

    let plan: OpaquePointer
    /// Floats of scratch memory that each use needs.
    let scratchCount: Int

    init(_ shape: Shape) {
        var description = tensor_convolution_shape(
            samples: shape.samples, height: shape.height, width: shape.width, inputs: shape.inputs, outputs: shape.outputs,
            kernel: shape.kernel, stride: shape.stride, padding: shape.padding, has_bias: shape.hasBias)
        guard let plan = tensor_convolution_create(&description, shape.isTraining) else {
            fatalError("oneDNN refused a convolution: \(shape)")
        }
        self.plan = plan
        scratchCount = tensor_convolution_scratch(plan)
    }

    deinit { tensor_convolution_free(plan) }
}
