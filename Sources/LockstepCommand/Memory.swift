import Glibc

/// Refuses a model whose weights alone are more than this machine can hold: the numbers come from a user's flags, or from a file.
func requireMemory(forParameters count: Double) throws {
    // A worker keeps a parameter's weight, gradient, and partial sum, and two numbers of the optimizer's.
    let needed = count * 24
    let there = Double(sysconf(Int32(_SC_PHYS_PAGES))) * Double(sysconf(Int32(_SC_PAGESIZE)))
    guard needed > there else { return }
    throw UsageError(
        "a model of \(rounded(count / 1e6)) million parameters takes \(rounded(needed / 1e9)) GB in each worker, and this machine "
            + "has \(rounded(there / 1e9)) GB: make the model smaller")
}

private func rounded(_ value: Double) -> String {
    value < 1e15 ? "\(Int(value.rounded()))" : "\(value)"
}
