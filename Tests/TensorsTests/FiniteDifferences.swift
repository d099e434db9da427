import Tensors
import Testing

/// Compares gradients with central differences (f(x + h) - f(x - h)) / 2h.
///
/// The function's value is a weighted sum of its result with fixed pseudo-random weights, so that every element of the result
/// matters differently. Differences are taken of sums in double.
struct FiniteDifferences {
    /// Inputs that gradients are checked of, each as elements and shape.
    var inputs: [(elements: [Float], shape: [Int])] = []
    /// Parameters that gradients are checked of.
    var parameters: [Parameter] = []
    /// Parameters that the function needs besides.
    var others: [Parameter] = []
    var step: Float = 1e-2
    var tolerance: Float = 2e-3
    var pass = Pass(seed: 5, step: 2, microBatch: 1, isTraining: true)

    func check(sourceLocation: SourceLocation = #_sourceLocation, _ function: (Tape, [Tensor]) -> Tensor) {
        let named = (parameters + others).enumerated().map { (name: "p\($0.offset)", parameter: $0.element) }
        let arena = ParameterArena(named, seed: 11)
        let tape = Tape(parameters: arena)

        tape.begin(pass)
        let variables = inputs.map { tape.variable($0.elements, $0.shape) }
        let result = function(tape, variables)
        let weights = pattern(result.count, scale: 1)
        weights.withUnsafeBufferPointer { tape.backward(from: result, gradient: $0) }
        let gradients = variables.map { tape.gradient(of: $0) }

        func value(_ inputs: [[Float]]) -> Double {
            tape.begin(pass)
            let variables = zip(inputs, self.inputs).map { tape.variable($0, $1.shape) }
            return zip(function(tape, variables).array, weights).reduce(0.0) { $0 + Double($1.0) * Double($1.1) }
        }
        for (which, input) in inputs.enumerated() {
            for element in input.elements.indices {
                func shifted(_ by: Float) -> Double {
                    var all = inputs.map(\.elements)
                    all[which][element] += by
                    return value(all)
                }
                let expected = Float((shifted(step) - shifted(-step)) / Double(2 * step))
                expect(gradients[which][element], expected, "input \(which)[\(element)]", sourceLocation)
            }
        }
        let elements = inputs.map(\.elements)
        for parameter in parameters {
            let gradient = (0..<parameter.count).map { parameter.gradients[$0] }
            for element in 0..<parameter.count {
                let original = parameter.values[element]
                parameter.values[element] = original + step
                let above = value(elements)
                parameter.values[element] = original - step
                let below = value(elements)
                parameter.values[element] = original
                let expected = Float((above - below) / Double(2 * step))
                expect(gradient[element], expected, "\(parameter.name)[\(element)]", sourceLocation)
            }
        }
    }

    private func expect(_ got: Float, _ expected: Float, _ place: String, _ sourceLocation: SourceLocation) {
        let allowed = tolerance * max(1, abs(expected))
        #expect(
            abs(got - expected) <= allowed, "gradient of \(place) is \(got), differences give \(expected)",
            sourceLocation: sourceLocation)
    }
}

/// Numbers between -scale and scale without a simple pattern, none of them near zero.
func pattern(_ count: Int, scale: Float = 1, seed: Int = 0) -> [Float] {
    (0..<count).map { index in
        var z = UInt64(index &+ seed &* 7919 &+ 1) &* 0x9E37_79B9_7F4A_7C15
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        let unit = Float(z >> 40) / Float(1 << 24)
        return scale * (z & 1 == 0 ? 1 : -1) * (0.1 + 0.9 * unit)
    }
}
