import Glibc
import Launching
import Lockstep
import Membership
import Processes

extension MemoryNeed {
    /// A parameter's weight: what a model is that is only looked at.
    static let weightBytes = 4.0

    /// What training keeps for a parameter, as the README has it: weight, partial sum, optimizer state, and, where that
    /// is shared out, sums.
    static func training(
        parameters: Double, _ options: TrainingOptions, _ optimizer: any Optimizer, _ ring: Ring
    ) -> MemoryNeed {
        let state = 4 * Double(optimizer.stateNames.count)
        let sum =
            switch options.reduction {
            case .exact: 8.0
            case .fp32: 4.0
            case .bf16: 6.0
            }
        // Of what is shared out a worker keeps its own part and the one before it.
        let kept = options.shardOptimizer ? (state + 4) * min(1, 2 / Double(ring.worldSize)) : state
        var need = MemoryNeed(parameters: parameters, bytesPerParameter: weightBytes + sum + kept)
        if options.out != nil { need.copyBytesPerParameter = 4 + state }
        need.workers = workersOnThisHost(ring)
        return need
    }
}

/// Refuses what cannot fit into the memory that this process may have, before anything is allocated.
func requireMemory(_ need: MemoryNeed, facts: MemoryFacts = .current()) throws {
    let each = need.workers > 1 ? "each of \(need.workers) workers" : "each worker"
    switch need.excess(over: facts) {
    case nil: return
    case .model(let needed, let allowance):
        throw UsageError(
            "a model of \(millions(need.parameters)) parameters takes \(byteText(needed)) in \(each), and "
                + "\(allowance.text): make the model smaller")
    case .activations(let needed, let left, let allowance):
        throw UsageError(
            "the activations of one micro-batch take \(byteText(needed)) in \(each), and there are \(byteText(left)) beside the model "
                + "(\(allowance.text)): lower --context or --micro-batch-size, or add --checkpoint-activations")
    }
}

/// The same for a model whose number of parameters is all that is known of it.
func requireMemory(forParameters count: Double, bytesEach: Double = MemoryNeed.weightBytes) throws {
    try requireMemory(MemoryNeed(parameters: count, bytesPerParameter: bytesEach))
}

private func millions(_ count: Double) -> String {
    let value = count / 1e6
    return (value < 1e15 ? "\(Int(value.rounded()))" : "\(value)") + " million"
}

/// Workers on this host that share its memory: those of the ring, or those that a launcher has said there are.
func workersOnThisHost(_ ring: Ring) -> Int {
    let told = WorkerEnvironment.Key.localWorldSize.value.flatMap { Int($0) } ?? 1
    return max(ring.membersOnThisHost, min(max(told, 1), LaunchConfiguration.mostWorkers))
}
