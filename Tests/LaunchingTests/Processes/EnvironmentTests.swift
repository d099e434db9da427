import EventLoop
import Launching
import Membership
import Wire
import Testing

@Test(arguments: [1, 2, 3, 12])
func everyWorkerGetsItsPlace(workers: Int) throws {
    let script = #"""
        echo $RANK $LOCAL_RANK $WORLD_SIZE $LOCAL_WORLD_SIZE $GROUP_RANK $MASTER_ADDR $MASTER_PORT \
            $LOCKSTEP_SECRET $LOCKSTEP_COORDINATOR $LOCKSTEP_RESTART_COUNT $EXTRA
        """#
    let secret = try Secret.random()
    let launched = try launch(script, workers: workers) { configuration in
        configuration.secret = secret
        configuration.environment = ["EXTRA": "more"]
        configuration.coordination = Coordinator.Configuration(worldSize: workers)
        configuration.beforeStart = { #expect($0.isOnThread) }
    }
    let port = try #require(launched.output.lines.first?.split(separator: " ").dropLast(4).last)
    let width = "\(workers - 1)".count
    let expected = (0..<workers).map { rank in
        let prefix = String(repeating: " ", count: width - "\(rank)".count) + "\(rank)"
        return "[\(prefix)] \(rank) \(rank) \(workers) \(workers) 0 127.0.0.1 \(port) \(secret.hexadecimal) launcher 0 more"
    }
    #expect(launched.output.lines.sorted() == expected.sorted())
    #expect(launched.errors.text == "")
    #expect(launched.outcome == Launcher.Outcome(status: 0, failure: nil))
    #expect(UInt16(port) != nil)
}

@Test func aSecondHostsRanksFollowTheFirsts() throws {
    let launched = try launch("echo $RANK $LOCAL_RANK $WORLD_SIZE $LOCAL_WORLD_SIZE $GROUP_RANK", workers: 2) {
        $0.firstRank = 9
        $0.worldSize = 11
        $0.hostNumber = 3
    }
    #expect(launched.output.lines.sorted() == ["[ 9] 9 0 11 2 3", "[10] 10 1 11 2 3"])
}

@Test func theNumberOfThreadsIsOneUnlessTheUserSaysOtherwise() throws {
    // Who runs the tests may have said so, too.
    let usual = Environment.current()["OMP_NUM_THREADS"] ?? "1"
    #expect(try launch("echo $OMP_NUM_THREADS", workers: 1).output.text == "[0] \(usual)\n")
    let launched = try launch("echo $OMP_NUM_THREADS", workers: 1) { $0.environment = ["OMP_NUM_THREADS": "3"] }
    #expect(launched.output.text == "[0] 3\n")
}

@Test func workersReadNoInput() throws {
    #expect(try launch("cat; echo end", workers: 1).output.text == "[0] end\n")
}
