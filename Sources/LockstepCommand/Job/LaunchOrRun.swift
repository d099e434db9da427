import Glibc
import Lockstep
import Membership

/// Runs a worker's part of a command: joins the job that the environment names, or is a world of one, and leaves properly.
///
/// With `-n` of more than one and no place in a job yet, this process becomes the launcher of that many workers, each of them
/// this program with the same arguments. They all end with the first that dies.
func asWorker(workers: Int, threadsPerWorker: Int = 1, _ body: (Ring) throws -> Void) throws -> Never {
    let environment = try WorkerEnvironment.current()
    if environment.isAlone, workers > 1 { throw ExitStatus(status: try Launch.ofThisProgram(workers: workers).run()) }
    runWorker(threadsPerWorker: threadsPerWorker, body)
}

/// The same for training, which goes on when workers die, and whose directory shows the job while it runs: with `--out` there is a
/// launcher even for one worker, so that others can be added.
func asTrainer(_ options: TrainingOptions, _ body: (Ring) throws -> Void) throws -> Never {
    let environment = try WorkerEnvironment.current()
    if environment.isAlone, options.workers > 1 || options.out != nil {
        var launch = Launch.ofThisProgram(workers: options.workers)
        launch.faults = options.faults
        launch.usualRestarts = 3
        launch.jobDirectory = options.out
        throw ExitStatus(status: try launch.run())
    }
    // A launcher's request is kept in mind from here on, and honoured at the end of the first step.
    if !environment.isAlone, WorkerEnvironment.Key.coordinator.value != nil { StopRequest.listen() }
    if let seconds = options.faults.joinTimeoutVariable { setenv(WorkerEnvironment.Key.joinTimeout.rawValue, seconds, 1) }
    runWorker(threadsPerWorker: options.threadsPerWorker, body)
}
