import Testing

/// The README's trainer.
@Suite(.serialized) struct SpiralsTests {
    @Test func underTheLauncherItGivesTheDigestOfOneProcess() throws {
        let alone = try Started(built("Spirals"), []).ended()
        #expect(alone.status == 0 && alone.errors.isEmpty)
        let together = try lockstep("run", "-n", "3", "--", built("Spirals"))
        #expect(together.status == 0 && together.errors.isEmpty)
        #expect(together.lines.allSatisfy { $0.hasPrefix("[0] ") })
        #expect(together.lines.map { $0.dropFirst(4) } == alone.lines[...].map { $0[...] } && alone.digest != nil)
    }

    @Test func theREADMEShowsIt() throws {
        let blocks = contents(of: packageRoot + "/README.md").split(separator: "```swift\n").dropFirst().map { $0.split(separator: "```\n")[0] }
        let source = contents(of: packageRoot + "/Sources/Spirals/main.swift")
        #expect(blocks.first.map(String.init) == source)
        #expect(source.split(separator: "\n", omittingEmptySubsequences: false).dropLast().count <= 40)
    }
}
