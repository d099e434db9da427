import Glibc
import Testing

/// `generate` and `inspect`, on a text model so small that it trains in a moment.
@Suite(.serialized) struct GenerateTests {
    let directory: TemporaryDirectory
    let run: Ended

    init() throws {
        directory = try TemporaryDirectory()
        let line = "the same bits for any number of workers, and ünïcode too. "
        try write(String(repeating: line, count: 20), to: directory("text"))
        run = try lockstep(
            "train", "text", "--data", directory("text"), "--layers", "1", "--heads", "2", "--embedding", "8", "--context", "16",
            "--steps", "5", "--micro-batch-size", "4", "-n", "2", "--out", directory("run"), "--dropout", "0.1")
    }

    @Test func itWritesSoManyCharacters() throws {
        #expect(run.status == 0 && run.digest != nil && run.lines.contains { $0.hasPrefix("validation loss ") }, "\(run.errors)")
        let flags = ["generate", "--checkpoint", directory("run"), "--prompt", "the ü"]
        for tokens in [0, 1, 40] {
            let text = try startLockstep(flags + ["--tokens", "\(tokens)"]).ended()
            #expect(text.status == 0 && text.errors.isEmpty, "\(text.errors)")
            #expect(text.output.hasPrefix("the ü") && text.output.hasSuffix("\n"))
            #expect(text.output.unicodeScalars.count == 5 + tokens + 1)
        }
        let one = try startLockstep(flags + ["--tokens", "40", "--seed", "1"]).ended()
        #expect(try startLockstep(flags + ["--tokens", "40", "--seed", "1"]).ended().output == one.output)
        #expect(try startLockstep(flags + ["--tokens", "40", "--seed", "2"]).ended().output != one.output)
        let greedy = flags + ["--tokens", "20", "--temperature", "0"]
        #expect(try startLockstep(greedy).ended().output == startLockstep(greedy + ["--seed", "9"]).ended().output)
    }

    @Test func itGoesOnFromAnyOfTheCheckpoints() throws {
        let path = directory("run/checkpoints/step-00000005")
        #expect(try lockstep("generate", "--checkpoint", path, "--prompt", "the", "--tokens", "3").status == 0)
    }

    @Test func aCharacterThatTheModelNeverSaw() throws {
        expectOneLine(try lockstep("generate", "--checkpoint", directory("run"), "--prompt", "th3"), ["character 2", "\"3\""])
    }

    @Test func aCheckpointOfNoTextModel() throws {
        _ = try lockstep("train", "digits", "--hidden", "8", "--steps", "1", "--out", directory("digits"))
        expectOneLine(
            try lockstep("generate", "--checkpoint", directory("digits"), "--prompt", "a"), [directory("digits"), "not of a text model"])
    }

    @Test func noCheckpoint() throws {
        for path in ["/nowhere", directory("text"), directory.path] {
            expectOneLine(try lockstep("generate", "--checkpoint", path, "--prompt", "a"), [path, "holds no checkpoint"])
            expectOneLine(try lockstep("inspect", path), [path, "holds no checkpoint"])
        }
    }

    @Test func inspectListsEveryTensor() throws {
        let listed = try lockstep("inspect", directory("run"))
        #expect(listed.status == 0 && listed.digest != nil && listed.digest == run.digest)
        #expect(listed.lines.first?.contains("step 5, epoch") == true)
        let rows = listed.lines.dropFirst().dropLast().map { $0.split(separator: "  ").map { $0.drop { $0 == " " } } }
        #expect(rows.count == 9 && rows.allSatisfy { $0.count == 4 && $0[1].hasPrefix("[") && $0[2] == "F32" && $0[3].count == 64 })

        let file = try lockstep("inspect", directory("run/checkpoints/step-00000005/weights.safetensors"))
        #expect(file.lines == Array(listed.lines.dropFirst().dropLast()))
        let all = try lockstep("inspect", directory("run"), "--optimizer")
        #expect(all.status == 0 && all.lines.count > 2 * rows.count)
    }

    @Test func aDamagedCheckpoint() throws {
        let path = directory("run/checkpoints/step-00000005/weights.safetensors")
        try write(bytes(of: path).dropLast(4), to: path)
        expectOneLine(try lockstep("inspect", directory("run")), ["weights.safetensors", "damaged"])
        expectOneLine(try lockstep("generate", "--checkpoint", directory("run"), "--prompt", "a"), ["weights.safetensors", "damaged"])
        expectOneLine(try lockstep("inspect", path), ["weights.safetensors"])
    }
}
