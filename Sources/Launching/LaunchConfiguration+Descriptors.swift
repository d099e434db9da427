import Membership
import Processes

extension LaunchConfiguration {
    /// The most descriptors that a launcher has open before it has workers: standard ones, two loops, the guardian's
    /// pipe, the lock, the coordinator's listener, and those that starting a worker, or a handshake, needs for a
    /// moment.
    private static let descriptorsOfLauncher = 36

    /// Two pipes and a control connection a worker, and its log.
    func descriptors(workerCount: Int) -> Int {
        Self.descriptorsOfLauncher + workerCount * (3 + (logDirectory == nil ? 0 : 1))
    }

    /// Makes sure, before there are workers, that the launcher and each of this many workers may open as many files as
    /// it needs.
    func requireDescriptors(workerCount: Int) throws(LaunchError) {
        let purpose = "a launcher of \(workerCount) \(workerCount == 1 ? "worker" : "workers")"
        do throws(ProcessError) {
            try DescriptorLimit.require(descriptors(workerCount: workerCount), for: purpose)
            // They inherit the limit, and raise the soft one themselves.
            let ofWorker = WorkerEnvironment.descriptors(worldSize: worldSize - self.workerCount + workerCount, coordinates: false)
            guard coordination != nil, DescriptorLimit.current().hard < ofWorker else { return }
            throw .descriptors(
                needed: ofWorker, limit: .current(), purpose: "each of \(workerCount) \(workerCount == 1 ? "worker" : "workers")")
        } catch {
            throw .process(error)
        }
    }
}
