import Glibc
import Testing

/// The models beside the multi-layer perceptron and the model of characters.
@Suite(.serialized) struct ModelTests {
    /// Convolutions, and batch normalisation's running statistics, for any number of workers.
    @Test(arguments: ["cnn", "resnet"]) func imagesGiveTheSameBits(model: String) throws {
        let flags = ["train", "digits", "--model", model, "--steps", "12", "--eval-every", "4"]
        let one = try startLockstep(flags).ended()
        #expect(one.status == 0 && one.digest != nil, "\(one.errors)")
        for workers in ["2", "3"] {
            let several = try startLockstep(flags + ["-n", workers]).ended()
            #expect(several.digest == one.digest)
            #expect(several.lines.suffix(2) == one.lines.suffix(2))
        }
    }

    @Test func activationsMayBeComputedAgain() throws {
        let directory = try TemporaryDirectory()
        try write(Array(String(repeating: "to be or not to be, that is the question. ", count: 20).utf8), to: directory("text"))
        let flags = [
            "train", "text", "--data", directory("text"), "--layers", "3", "--embedding", "8", "--heads", "2", "--context", "16",
            "--micro-batch-size", "3", "--dropout", "0.2", "--steps", "5",
        ]
        let kept = try startLockstep(flags).ended()
        #expect(kept.status == 0 && kept.digest != nil, "\(kept.errors)")
        #expect(try startLockstep(flags + ["--checkpoint-activations", "-n", "2"]).ended().digest == kept.digest)
    }

    @Test func whatDoesNotFitIsRefused() throws {
        let directory = try TemporaryDirectory()
        try write([UInt8](repeating: 1, count: 1 << 21), to: directory("train.bin"))
        let flags = [
            "train", "text", "--data", directory("train.bin"), "--layers", "200", "--embedding", "64", "--context", "1000",
            "--micro-batch-size", "800",
        ]
        expectOneLine(try startLockstep(flags).ended(), ["activations", "GB", "--checkpoint-activations"])
    }

    @Test func anEmptyCIFAR() throws {
        let directory = try TemporaryDirectory()
        expectOneLine(try lockstep("train", "cifar10", "--data", directory.path), [directory.path, "data_batch_1.bin"])
        try write([UInt8](repeating: 1, count: 3073 * 3), to: directory("data_batch_1.bin"))
        try write([UInt8](repeating: 1, count: 3073), to: directory("test_batch.bin"))
        let ended = try lockstep("train", "cifar10", "--data", directory.path, "--steps", "1", "--model", "cnn")
        #expect(ended.status == 0 && ended.digest != nil, "\(ended.errors)")
    }

    /// Tokens in files: train, evaluate, export, and go on from what was exported.
    @Test func tokensThereAndBackAgain() throws {
        let directory = try TemporaryDirectory()
        func tokens(_ count: Int, _ name: String) throws {
            try write((0..<count).flatMap { [UInt8(($0 * 7 + $0 / 5) % 31), 0] }, to: directory(name))
        }
        try tokens(900, "train.bin")
        try tokens(200, "val.bin")
        let data = ["--data", directory("train.bin"), "--validation", directory("val.bin")]
        let flags = data + ["--micro-batch-size", "4", "--steps", "6"]
        let shape = ["--vocabulary-size", "31", "--layers", "1", "--heads", "2", "--embedding", "8", "--context", "12"]
        let run = try startLockstep(["train", "text"] + flags + shape + ["-n", "2", "--out", directory("run")]).ended()
        #expect(run.status == 0 && run.digest != nil, "\(run.errors)")

        let evaluated = try lockstep("eval", "--checkpoint", directory("run"), "--data", directory("val.bin"))
        let loss = try #require(evaluated.lines.first?.split(separator: " ").dropFirst().first.flatMap { Double($0) })
        let told = try #require(run.lines.first { $0.hasPrefix("validation loss ") }?.split(separator: " ").last.flatMap { Double($0) })
        #expect(abs(loss - told) < 1e-4)
        #expect(evaluated.output.hasSuffix("192 tokens in 16 windows of 12\n"))

        #expect(try lockstep("export", "--checkpoint", directory("run"), "--out", directory("gpt2")).status == 0)
        let again = try lockstep("eval", "--init", directory("gpt2"), "--data", directory("val.bin"))
        #expect(again.output == evaluated.output)
        let tuned = try startLockstep(["train", "text", "--init", directory("gpt2")] + flags).ended()
        #expect(tuned.status == 0 && tuned.digest != nil && tuned.digest != run.digest, "\(tuned.errors)")
        #expect(try startLockstep(["train", "text", "--init", directory("gpt2")] + flags + ["-n", "3"]).ended().digest == tuned.digest)

        expectOneLine(try lockstep("export", "--checkpoint", directory("run"), "--out", directory("gpt2")), ["config.json", "exists already"])
        expectOneLine(try lockstep("generate", "--checkpoint", directory("run"), "--prompt", "a"), ["model of tokens"])
        expectOneLine(try lockstep("eval", "--init", directory("gpt2"), "--data", directory("val.bin"), "--context", "13"), ["--context is 13"])
        // Found when the token is read, after the run has introduced itself.
        let strange = try startLockstep(["train", "text", "--vocabulary-size", "30"] + flags).ended()
        #expect(strange.status == 1 && strange.errorLines.count == 1 && strange.errors.contains("is 30, but the vocabulary ends at 29"))
        expectOneLine(try startLockstep(["train", "text", "--init", directory("run")] + flags).ended(), ["config.json"])
        try write(Array("text".utf8), to: directory("gpt2/model.safetensors"))
        expectOneLine(try lockstep("eval", "--init", directory("gpt2"), "--data", directory("val.bin")), ["model.safetensors", "not a valid"])
    }
}
