// One import for a training program: `import Lockstep`.
@_exported import Checkpoints
@_exported import Collectives
@_exported import Datasets
@_exported import HuggingFace
@_exported import Membership
@_exported import NeuralNetworks
@_exported import Optimizers
@_exported import Telemetry
@_exported import Tensors
@_exported import Training
