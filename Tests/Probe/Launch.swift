import Glibc
import Launching

/// A launcher in a process of its own, for tests that send it signals.
struct Launch {
    let configuration: LaunchConfiguration

    init(arguments: [String]) {
        var configuration = LaunchConfiguration(
            program: arguments[2], arguments: Array(arguments[3...]), workerCount: Int(arguments[0])!)
        let grace = Duration.milliseconds(Int(arguments[1])!)
        configuration.policy.limits.graceAfterFailure = grace
        configuration.policy.limits.graceAfterRequest = grace
        self.configuration = configuration
    }

    func run() throws {
        do {
            exit(try Launcher(configuration).run().status)
        } catch let error as LaunchError {
            print(error)
            exit(error.status)
        }
    }
}
