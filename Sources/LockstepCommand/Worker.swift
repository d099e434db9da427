import Lockstep

/// Runs a worker's part of a task: joins the job that the environment names, or is a world of one, and leaves properly.
///
/// With `-n` of more than one and no place in a job yet, this process becomes the launcher of that many workers, each of them
/// this program with the same arguments.
func asWorker(workers: Int, threadsPerWorker: Int = 1, _ body: (Ring) throws -> Void) throws -> Never {
    let environment = try WorkerEnvironment.current()
    if environment.isAlone, workers > 1 { throw ExitStatus(status: try launchSelf(workers: workers)) }
    runWorker(threadsPerWorker: threadsPerWorker, body)
}
