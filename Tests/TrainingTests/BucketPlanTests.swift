import Testing
import Training

@Suite struct BucketPlanTests {
    @Test func bucketsCoverTheArenaInOrder() {
        let plan = BucketPlan(offsets: [0, 16, 32, 160, 176], count: 192, atLeast: 100)
        #expect(plan.ranges == [0..<160, 160..<192])
        #expect(plan.parts == [0..<3, 3..<5])
        #expect(plan.bucketOfPart == [0, 0, 0, 1, 1])
    }

    @Test func largePartsAreBucketsOfTheirOwn() {
        let plan = BucketPlan(offsets: [0, 1000, 2000], count: 3000, atLeast: 100)
        #expect(plan.ranges == [0..<1000, 1000..<2000, 2000..<3000])
    }

    @Test func noParametersAreNoBuckets() {
        #expect(BucketPlan(offsets: [], count: 0).ranges.isEmpty)
    }
}
