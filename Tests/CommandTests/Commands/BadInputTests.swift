import Glibc
import Testing

/// Expects one line on standard error that holds all of `parts`, a status, nothing on standard output.
func expectOneLine(
    _ ended: Ended, _ parts: [String], status: Int32 = 1, sourceLocation: SourceLocation = #_sourceLocation
) {
    #expect(ended.status == status, "\(ended.errors)", sourceLocation: sourceLocation)
    #expect(ended.errorLines.count == 1 && ended.errors.hasPrefix("lockstep: "), "\(ended.errors)", sourceLocation: sourceLocation)
    #expect(parts.allSatisfy(ended.errors.contains), "\(ended.errors)", sourceLocation: sourceLocation)
    #expect(ended.output.isEmpty, "\(ended.output)", sourceLocation: sourceLocation)
}

/// The four files of a small MNIST, 20 + 10 images of 4x4.
struct SmallMNIST {
    let directory: TemporaryDirectory

    static let names = [
        "train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte",
    ]

    init() throws {
        directory = try TemporaryDirectory()
        for (name, count) in zip(SmallMNIST.names, [20, 20, 10, 10]) {
            let isImages = name.contains("images")
            let header = SmallMNIST.words(isImages ? [0x803, count, 4, 4] : [0x801, count])
            let data = (0..<count * (isImages ? 16 : 1)).map { UInt8($0 * 7 % (isImages ? 256 : 10)) }
            try write(header + data, to: directory(name))
        }
    }

    static func words(_ numbers: [Int]) -> [UInt8] {
        numbers.flatMap { number in [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: number >> $0) } }
    }
}

@Suite(.serialized) struct BadInputTests {
    @Test func theSmallMNISTIsGood() throws {
        let data = try SmallMNIST()
        let run = try lockstep("train", "mnist", "--data", data.directory.path, "--hidden", "8", "--steps", "2", "-n", "2")
        #expect(run.status == 0 && run.digest != nil, "\(run.errors)")
    }

    @Test func aPrecisionThatTheCPULacks() throws {
        guard !contents(of: "/proc/cpuinfo").contains("avx512_bf16") else { return }
        let refused = try lockstep("train", "digits", "--precision", "bf16", "-n", "2")
        #expect(refused.status != 0 && refused.output.isEmpty)
        #expect(refused.errors.contains("--precision bf16 needs a CPU with AVX512_BF16"), "\(refused.errors)")
    }

    /// What is done to one file, and what is said about it.
    @Test(arguments: [
        ("missing", 0, ["train-images-idx3-ubyte"]), ("empty", 1, ["train-labels-idx1-ubyte", "cut short"]),
        ("truncated", 2, ["t10k-images-idx3-ubyte", "cut short"]), ("too long", 3, ["t10k-labels-idx1-ubyte", "goes on"]),
        ("wrong magic", 0, ["train-images-idx3-ubyte", "not the IDX file"]), ("label", 1, ["train-labels-idx1-ubyte", "label 3 is 10"]),
        ("fewer", 1, ["train-labels-idx1-ubyte", "19 labels", "20 images"]), ("huge", 0, ["train-images-idx3-ubyte"]),
        ("directory", 3, ["t10k-labels-idx1-ubyte"]),
    ])
    func badIDX(damage: String, file: Int, parts: [String]) throws {
        let data = try SmallMNIST()
        let path = data.directory(SmallMNIST.names[file])
        let good = bytes(of: path)
        unlink(path)
        switch damage {
        case "missing": break
        case "empty": try write([], to: path)
        case "truncated": try write(good.dropLast(), to: path)
        case "too long": try write(good + [0], to: path)
        case "wrong magic": try write([1, 2, 3, 4] + good.dropFirst(4), to: path)
        case "label": try write(Array(good[..<11]) + [10] + good[12...], to: path)
        case "fewer": try write(SmallMNIST.words([0x801, 19]) + good[8..<27], to: path)
        case "huge": try write(SmallMNIST.words([0x803, 0xFFFF_FFFF, 4096, 4096]) + good[16...], to: path)
        default: mkdir(path, 0o777)
        }
        let out = data.directory("run")
        expectOneLine(try lockstep("train", "mnist", "--data", data.directory.path, "--out", out), [data.directory.path] + parts)
        #expect(entries(below: out).isEmpty)
    }

    @Test(arguments: ["", "too short", "\u{FF}"])
    func badText(text: String) throws {
        let directory = try TemporaryDirectory()
        let path = directory("text")
        if text == "\u{FF}" { try write([UInt8](repeating: 0xFF, count: 1000), to: path) } else { try write(text, to: path) }
        let expected = text == "\u{FF}" ? "not UTF-8" : "\(text.count) characters"
        expectOneLine(try lockstep("train", "text", "--data", path), [path, expected])
    }

    @Test func aMissingText() throws {
        expectOneLine(try lockstep("train", "text", "--data", "/nowhere/text"), ["/nowhere/text", "No such file"])
    }

    /// Every worker reads the bad file; one says so, and the launcher names that one.
    @Test func manyWorkersSayItOnce() throws {
        let run = try lockstep("train", "mnist", "--data", "/nowhere", "-n", "4")
        #expect(run.status == 1 && run.output.isEmpty)
        #expect(run.errorLines.count == 2, "\(run.errors)")
        #expect(run.errorLines.first?.hasPrefix("lockstep: rank 0: /nowhere has none of ") == true)
        #expect(run.errorLines.last?.hasPrefix("lockstep: rank 0 (pid ") == true)
    }

    @Test func aDivergedRunSaysItOnce() throws {
        let run = try startLockstep(["train", "digits", "--steps", "9", "--learning-rate", "1e30", "-n", "3"]).ended()
        #expect(run.status == 1 && run.errorLines.count == 2, "\(run.errors)")
        #expect(run.errors.contains("is NaN or infinite") && run.digest == nil)
    }
}

/// Flags that cannot be.
@Suite(.serialized) struct BadFlagTests {
    static let wholeNumbers = [
        "-n", "--steps", "--epochs", "--global-batch-size", "--micro-batch-size", "--eval-every", "--decay-steps", "--threads-per-worker",
    ]
    static let numbers = [
        "--seed", "--learning-rate", "--momentum", "--weight-decay", "--warmup-steps", "--min-learning-rate", "--clip-norm", "--dropout",
    ]

    @Test(arguments: wholeNumbers + numbers, ["x", "-1", ""])
    func aNumberThatIsNone(flag: String, value: String) throws {
        expectOneLine(try lockstep("train", "digits", flag, value), [flag, "lockstep train digits --help"], status: 2)
    }

    @Test(arguments: wholeNumbers, ["0", "1.5", "99999999999999999999"])
    func aWholeNumberThatIsNone(flag: String, value: String) throws {
        expectOneLine(try lockstep("train", "digits", flag, value), [flag, value], status: 2)
    }

    @Test(arguments: [
        ["--learning-rate", "0"], ["--learning-rate", "nan"], ["--learning-rate", "inf"], ["--momentum", "1"], ["--dropout", "1"],
        ["--weight-decay", "inf"], ["--betas", "0.9"], ["--betas", "0.9,1"], ["--betas", "0.9,x"], ["--betas", "0.9,0.9"],
        ["--optimizer", "adam"], ["--momentum", "0.5", "--optimizer", "adamw"], ["--nesterov", "--optimizer", "adamw"],
        ["--nesterov", "--momentum", "0"], ["--decay", "linear"], ["--decay", "constant", "--decay-steps", "5"],
        ["--decay-steps", "5", "--warmup-steps", "5"], ["--min-learning-rate", "0.5", "--learning-rate", "0.1"],
        ["--steps", "1", "--epochs", "1"], ["--global-batch-size", "8", "--micro-batch-size", "9"], ["--hidden", "0"],
        ["--hidden", "8,"], ["--hidden", "x"], ["--model", "vit"], ["--hidden", "8", "--model", "cnn"], ["--blocks", "2"],
        ["--dropout", "0.5", "--model", "resnet"], ["--reduction", "fp8"], ["--resume"], ["--checkpoint-every", "5"],
        ["--keep-checkpoints", "5"], ["--out", ""], ["--metrics", ""], ["--threads-per-worker", "100000"], ["-n", "100000"],
        ["--nonsense"], ["nonsense"],
    ])
    func flagsThatCannotBe(flags: [String]) throws {
        let ended = try startLockstep(["train", "digits"] + flags).ended()
        expectOneLine(ended, [flags[0], "lockstep train digits --help"], status: 2)
        // With several workers nothing is started.
        if !flags.contains("-n") { #expect(try startLockstep(["train", "digits", "-n", "3"] + flags).ended().errors == ended.errors) }
    }

    @Test(arguments: [
        ["train", "nonsense"], ["train", "mnist"], ["train", "text"], ["train", "text", "--data", ""], ["run"], ["run", "-n", "0", "--", "true"],
        ["train", "text", "--data", "x", "--heads", "3"], ["train", "text", "--data", "x", "--layers", "0"], ["generate"], ["inspect"],
        ["generate", "--checkpoint", "x", "--prompt", ""], ["generate", "--checkpoint", "x", "--prompt", "a", "--temperature", "-1"],
        ["generate", "--checkpoint", "x", "--prompt", "a", "--tokens", "-1"], ["check", "-n", "0"], ["check", "--largest", "x"],
        ["train", "cifar10"], ["train", "text", "--data", "x", "--validation", "v.bin"], ["train", "text", "--data", "x.bin", "--validation", "v"],
        ["train", "text", "--data", "x", "--vocabulary-size", "9"], ["train", "text", "--data", "x.bin", "--vocabulary-size", "65537"],
        ["train", "text", "--data", "x", "--init", "d"], ["train", "text", "--data", "x.bin", "--init", "d", "--layers", "2"], ["eval", "--data", "x"],
        ["eval", "--data", "x", "--init", "d", "--checkpoint", "c"], ["eval", "--data", "x", "--init", "d", "--context", "0"],
        ["export", "--checkpoint", "x"], ["export", "--checkpoint", "x", "--out", ""],
        ["nonsense"],
    ])
    func commandsThatCannotBe(arguments: [String]) throws {
        expectOneLine(try startLockstep(arguments).ended(), ["--help"], status: 2)
    }

    @Test func aModelThatFitsNowhere() throws {
        expectOneLine(try lockstep("train", "digits", "--hidden", "1048576,1048576"), ["1099591 million parameters"])
    }

    @Test func aCommandIsNeeded() throws {
        let ended = try startLockstep([]).ended()
        #expect(ended.status == 2 && ended.output.isEmpty && ended.errors.contains("USAGE"), "\(ended)")
    }

    @Test(arguments: [["--help"], ["train", "--help"], ["help", "train", "text"], ["run", "--help"], ["--version"]])
    func helpIsNoError(arguments: [String]) throws {
        let ended = try startLockstep(arguments).ended()
        #expect(ended.status == 0 && ended.errors.isEmpty && !ended.output.isEmpty)
        #expect(ended.lines.allSatisfy { $0.count <= 80 })
    }
}

/// What `lockstep run` cannot start.
@Suite(.serialized) struct BadProgramTests {
    @Test func aProgramThatIsNotThere() throws {
        expectOneLine(try lockstep("run", "-n", "2", "--", "/nowhere/program"), ["/nowhere/program", "no such file"], status: 127)
        expectOneLine(try lockstep("run", "-n", "2", "--", "no-such-program"), ["no-such-program", "PATH"], status: 127)
    }

    @Test func aProgramThatIsNone() throws {
        expectOneLine(try lockstep("run", "-n", "2", "--", packageRoot + "/README.md"), ["README.md", "not an executable"], status: 126)
        expectOneLine(try lockstep("run", "-n", "2", "--", packageRoot), ["not an executable"], status: 126)
    }

    @Test func aProgramWithoutItsInterpreter() throws {
        let directory = try TemporaryDirectory()
        try write("#!/nowhere/interpreter\n", to: directory("script"))
        chmod(directory("script"), 0o755)
        expectOneLine(try lockstep("run", "-n", "2", "--", directory("script")), [directory("script"), "interpreter"], status: 126)
    }

    @Test func aProgramThatIsNotBuiltOnTheLibrary() throws {
        expectOneLine(try lockstep("run", "-n", "2", "--", "true"), ["\"true\"", "not built on Lockstep"])
    }

    @Test func anUnwritableLogDirectory() throws {
        expectOneLine(
            try lockstep("run", "-n", "2", "--log-dir", packageRoot + "/README.md/logs", "--", "true"), ["README.md/logs", "--log-dir"])
    }
}
