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

    /// No compiler fuses products with sums where the source does not say so: every C file that knows floating-point numbers has the pragma,
    /// from `Clones.h` or another header, and nothing takes it back. Clones are made by `CLONED`, which LOCKSTEP_CPU rules.
    @Test(arguments: ["CTensorKernels", "CReductionKernels"]) func contractionIsOffInEveryFile(_ module: String) throws {
        let folders = [module, "CInstructionSets/include"].map { packageRoot + "/Sources/" + $0 }
        func path(_ file: String) -> String? { folders.map { $0 + "/" + file }.first { !contents(of: $0).isEmpty } }
        func hasPragma(_ file: String) -> Bool {
            guard let path = path(file) else { return false }
            // Before anything is computed: the files that are included come first.
            let code = contents(of: path).split(separator: "\n").filter { !$0.hasPrefix("//") }
            let lines = code.prefix { !$0.contains(/\b(float|double)\b/) }
            let included = lines.filter { $0.hasPrefix("#include \"") }.map { String($0.split(separator: "\"")[1]) }
            return lines.contains("#pragma STDC FP_CONTRACT OFF") || included.contains(where: hasPragma)
        }
        let sources = entries(below: folders[0]).filter { !$0.contains("/") && ($0.hasSuffix(".c") || $0.hasSuffix(".h")) }
        #expect(sources.count >= 2)
        for file in sources {
            let source = contents(of: folders[0] + "/" + file)
            let computes = source.contains(/\b(float|double)\b/)
            #expect(hasPragma(file) || !computes || !file.hasSuffix(".c"), "\(module)/\(file) has no #pragma STDC FP_CONTRACT OFF")
            for word in ["FP_CONTRACT ON", "FP_CONTRACT DEFAULT", "target_clones", "ifunc", "fast-math", "float_control"] {
                #expect(!source.contains(word), "\(module)/\(file) has \(word)")
            }
        }
    }
}
