import Checkpoints
import Tensors
import TestSupport
import Testing
import Training

/// Training with products of bfloat16.
@Suite(.serialized) struct PrecisionTests {
    @Test func itLearnsNearlyTheSameToTheSameBitsForAnyNumberOfWorkers() throws {
        func losses(_ precision: Precision) throws -> (curve: [Double], digest: Digest) {
            let trainer = try smallTrainer(alone(), precision: precision)
            var curve: [Double] = []
            try trainer.run { curve.append($0.loss) }
            return (curve, trainer.weightsDigest)
        }
        let (expected, _) = try losses(.float32)
        let (curve, digest) = try losses(.bfloat16)
        #expect(curve != expected)
        for (got, full) in zip(curve, expected) { #expect(abs(got - full) < 0.02) }
        try inWorld(of: 3) { ring in
            let trainer = try smallTrainer(ring, precision: .bfloat16)
            try trainer.run()
            #expect(trainer.weightsDigest == digest)
        }
    }
}
