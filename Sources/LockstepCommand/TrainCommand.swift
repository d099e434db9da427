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
            lockstep train text --data FILE -n 2 --steps 2000 --out RUN --checkpoint-every 500
            lockstep train text --data FILE -n 3 --steps 4000 --out RUN --resume
            lockstep train text --data train.bin --validation val.bin -n 4 --layers 6 --heads 6 --embedding 384 --context 256

            On several hosts, on each: RANK=0 WORLD_SIZE=2 MASTER_ADDR=10.0.0.1 MASTER_PORT=29500 LOCKSTEP_SECRET=... \
            lockstep train digits
            """,
        subcommands: [TrainDigits.self, TrainMNIST.self, TrainCIFAR10.self, TrainText.self])
}
