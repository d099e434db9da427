import CTensorKernels

/// The kind of CPU that this process runs on, as far as results depend on it.
public enum CPUKind {
    /// Maker, model, the instruction sets by which kernels are chosen, and the caches by which oneDNN cuts products: "AuthenticAMD family 23
    /// model 49 AVX2, caches of 32 and 512 KiB". Equal on CPUs that give the same bits; others may.
    public static let name: String = {
        var text = [CChar](repeating: 0, count: 256)
        tensor_cpu_kind(&text, text.count)
        return String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }()
}
