import Glibc

/// A worker keeps a parameter's weight, gradient, and partial sum of 8 bytes, and two numbers of the optimizer's.
private let bytesPerParameter = 24.0

private var physicalMemory: Double { Double(sysconf(Int32(_SC_PHYS_PAGES))) * Double(sysconf(Int32(_SC_PAGESIZE))) }

/// Refuses a model whose weights alone are more than this machine can hold: the numbers come from a user's flags, or from a file.
func requireMemory(forParameters count: Double) throws {
    let needed = count * bytesPerParameter
    let there = physicalMemory
    guard needed > there else { return }
    throw UsageError(
        "a model of \(rounded(count / 1e6)) million parameters takes \(rounded(needed / 1e9)) GB in each worker, and this machine "
            + "has \(rounded(there / 1e9)) GB: make the model smaller")
}

/// Refuses a pass whose activations are more than is left of this machine's memory beside a worker's weights.
func requireMemory(forActivations floats: Double, besideParameters count: Double) throws {
    let needed = floats * 4
    let there = physicalMemory - count * bytesPerParameter
    guard needed > there else { return }
    throw UsageError(
        "the activations of one micro-batch take \(rounded(needed / 1e9)) GB in each worker, and this machine has "
            + "\(rounded(max(there, 0) / 1e9)) GB beside the model: lower --context or --micro-batch-size, or add --checkpoint-activations")
}

private func rounded(_ value: Double) -> String {
    value < 1e15 ? "\(Int(value.rounded()))" : "\(value)"
}
