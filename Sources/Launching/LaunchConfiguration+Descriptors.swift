import Membership
import Processes

extension LaunchConfiguration {
    /// What a launcher has open at most before it has workers: standard descriptors, two loops, the guardian's pipe, the lock, the coordinator's
    /// listener, and what a start or a connection that is judged takes for a moment.
    private static let descriptorsOfLauncher = 36

    /// Two pipes and a control connection a worker, and its log.
    func descriptors(workerCount: Int) -> Int {
        Self.descriptorsOfLauncher + workerCount * (3 + (logDirectory == nil ? 0 : 1))
    }

    /// Makes sure that the launcher, and each of so many workers, may open what it takes, before there is one.
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
