import Testing
import Training

@Suite struct BucketPlanTests {
    @Test func bucketsCoverTheArenaInOrder() {
        let plan = BucketPlan(offsets: [0, 16, 32, 160, 176], trainedEnd: 192, count: 192, atLeast: 100, block: 16)
        #expect(plan.ranges == [0..<160, 160..<192])
        #expect(plan.bucketsOfPart == [0..<1, 0..<1, 0..<1, 1..<2, 1..<2])
        #expect(plan.partCounts == [3, 2])
        #expect(plan.trainedCount == 2)
    }

    @Test func largePartsAreBucketsOfTheirOwn() {
        let plan = BucketPlan(offsets: [0, 1024, 2048], trainedEnd: 3072, count: 3072, atLeast: 100, block: 16)
        #expect(plan.ranges == [0..<1024, 1024..<2048, 2048..<3072])
    }

    /// What is behind the last whole block of a part leaves with the next one.
    @Test func bucketsEndWithBlocks() {
        let plan = BucketPlan(offsets: [0, 1000, 1000, 2000], trainedEnd: 3000, count: 3000, atLeast: 100, block: 64)
        #expect(plan.ranges == [0..<960, 960..<1984, 1984..<3000])
        #expect(plan.bucketsOfPart == [0..<2, 0..<0, 1..<3, 2..<3])
        #expect(plan.partCounts == [1, 2, 2])
    }

    /// Pieces of about the same size, which begin with blocks; only the last ends without one.
    @Test func largePartsAreCut() {
        let plan = BucketPlan(offsets: [0, 16, 2016], trainedEnd: 2016, count: 2032, atLeast: 100, atMost: 700, block: 64)
        #expect(plan.ranges == [0..<704, 704..<1408, 1408..<2016, 2016..<2032])
        #expect(plan.bucketsOfPart == [0..<1, 0..<3, 3..<4])
        #expect(plan.partCounts == [2, 1, 1, 1])
        #expect(plan.trainedCount == 3)
        let whole = BucketPlan(offsets: [0], trainedEnd: 1 << 22, count: 1 << 22)
        #expect(whole.ranges == (0..<4).map { $0 << 20..<($0 + 1) << 20 })
    }

    /// Not one of them has a block.
    @Test func smallPartsAreOneBucket() {
        #expect(BucketPlan(offsets: [0, 16, 32], trainedEnd: 48, count: 48, atLeast: 16, block: 64).ranges == [0..<48])
    }

    @Test func statisticsAreByThemselves() {
        let plan = BucketPlan(offsets: [0, 1024, 1040], trainedEnd: 1040, count: 1056, atLeast: 100, block: 64)
        #expect(plan.ranges == [0..<1024, 1024..<1040, 1040..<1056])
        #expect(Array(plan.trained) == [0..<1024, 1024..<1040])
        #expect(BucketPlan(offsets: [0], trainedEnd: 0, count: 16).trained.isEmpty)
    }

    @Test func noParametersAreNoBuckets() {
        #expect(BucketPlan(offsets: [], trainedEnd: 0, count: 0).ranges.isEmpty)
    }
}
