import ArgumentParser
import Lockstep

/// `lockstep train digits|mnist|cifar10|text`.
struct TrainCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "train", abstract: "Trains a built-in task on this host, or as one worker of a job.",
        discussion: """
              lockstep train digits -n 4
              lockstep train mnist --data DIR -n 4 --model cnn
              lockstep train cifar10 --data DIR -n 4 --blocks 3
              lockstep train text --data FILE -n 2 --out RUN --checkpoint-every 500
              lockstep train text --data FILE -n 3 --out RUN --resume
              lockstep train text --data train.bin --validation val.bin -n 4

            On several hosts, on each with its own RANK and the same LOCKSTEP_SECRET:

              export RANK=0 WORLD_SIZE=2 MASTER_ADDR=10.0.0.1 MASTER_PORT=29500
              lockstep train digits
            """,
        subcommands: [TrainDigits.self, TrainMNIST.self, TrainCIFAR10.self, TrainText.self])
}

/// An empty path is a shell variable that was not set.
func requirePath(_ path: String?, _ flag: String) throws {
    if path?.isEmpty == true { throw ValidationError("\(flag) is empty; give a path.") }
}
