import Testing

/// The kernels with every instruction set that this CPU has: a program of its own, since they are chosen for a whole
/// process.
@Suite struct KernelCheckTests {
    /// The same bits from each, which are those of a short reference and, by their digests, those of every other CPU.
    @Test func everyKernelGivesTheSameBitsWithEveryInstructionSet() throws {
        let check = try Started(built("KernelCheck"), ["kernels"])
        #expect(try check.end(within: .seconds(300)) == 0, "\(check.output)\(check.errors)")
    }

    /// Elementary functions of every 4099th float; `scripts/verify` takes all of them.
    @Test func elementaryFunctionsGiveTheSameBitsWithEveryInstructionSet() throws {
        let check = try Started(built("KernelCheck"), ["functions", "4099"])
        #expect(try check.end(within: .seconds(300)) == 0, "\(check.output)\(check.errors)")
    }

    @Test func elementaryFunctionsAreAsAccurateAsTheySay() throws {
        let check = try Started(built("KernelCheck"), ["accuracy", "997"])
        #expect(try check.end(within: .seconds(300)) == 0, "\(check.output)\(check.errors)")
    }

    /// The pragma that keeps products and sums apart comes with `Kernel.h` or `Clones.h`: every C file that computes
    /// has one of them, and none allows it again. Clones are made by `CLONED` alone, which LOCKSTEP_CPU rules.
    @Test(arguments: ["CTensorKernels", "CReductionKernels"]) func contractionIsOffInEveryFile(_ module: String) throws {
        let clones = contents(of: packageRoot + "/Sources/CInstructionSets/include/Clones.h")
        #expect(clones.contains("\n#pragma STDC FP_CONTRACT OFF\n"))
        let folder = packageRoot + "/Sources/" + module
        let sources = entries(below: folder).filter { !$0.contains("/") && ($0.hasSuffix(".c") || $0.hasSuffix(".h")) }
        #expect(!sources.isEmpty)
        func hasClones(_ file: String) -> Bool {
            let lines = contents(of: "\(folder)/\(file)").split(separator: "\n").filter { $0.hasPrefix("#include \"") }
            let included = lines.map { String($0.split(separator: "\"")[1]) }
            return included.contains("Clones.h") || included.contains { sources.contains($0) && hasClones($0) }
        }
        for file in sources {
            let source = contents(of: "\(folder)/\(file)")
            #expect(hasClones(file), "\(module)/\(file) computes without Clones.h")
            for word in ["FP_CONTRACT ON", "FP_CONTRACT DEFAULT", "target_clones", "ifunc", "fast-math", "float_control"] {
                #expect(!source.contains(word), "\(module)/\(file) has \(word)")
            }
        }
    }
}
