import Testing

/// What a model takes, measured in processes of their own: as many bytes a parameter as the README says.
@Suite struct ModelMemoryTests {
    private struct Use {
        var parameters: Int
        var trained: Int
        var evaluated: Int
    }

    private static func use(layers: Int, batch: Int, _ reduction: String, _ optimizer: String) throws -> Use {
        let ended = try Started(built("Probe"), ["memory", "\(layers)", "\(batch)", reduction, optimizer]).ended()
        let words = ended.output.split(whereSeparator: \.isWhitespace)
        try #require(ended.status == 0 && words.count == 6, "\(ended.output)\(ended.errors)")
        let numbers = try stride(from: 1, to: 6, by: 2).map { try #require(Int(words[$0])) }
        try #require(numbers.allSatisfy { $0 > 0 })
        return Use(parameters: numbers[0], trained: numbers[1], evaluated: numbers[2])
    }

    /// What more layers take more, of which each has a megabyte of weights: no gradients, and no sums beside the
    /// partial sums.
    @Test(arguments: [
        ("exact", "adamw", 20.0), ("exact", "momentum", 16), ("exact", "sgd", 12), ("fp32", "adamw", 16),
        ("bf16", "adamw", 18),
    ])
    func bytesOfAParameter(reduction: String, optimizer: String, bytes: Double) throws {
        let few = try Self.use(layers: 16, batch: 4, reduction, optimizer)
        let many = try Self.use(layers: 80, batch: 4, reduction, optimizer)
        try #require(many.parameters - few.parameters == 64 << 18)
        let each = Double(many.trained - few.trained) / Double(many.parameters - few.parameters)
        #expect(abs(each - bytes) < 0.5, "\(few), \(many): \(each)")
    }

    /// Its activations stand where those of the training passes stood: 8 MB each, of which it needs some at a time.
    @Test func anEvaluationTakesNothing() throws {
        let use = try Self.use(layers: 4, batch: 4096, "exact", "sgd")
        #expect(use.evaluated - use.trained < 4 << 20, "\(use)")
    }
}
