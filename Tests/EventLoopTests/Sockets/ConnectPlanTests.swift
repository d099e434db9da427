import EventLoop
import Testing

/// Which address is tried when.
@Suite struct ConnectPlanTests {
    private static func address(_ host: String) -> SocketAddress { SocketAddress(host: host, port: 7)! }

    /// What a plan wants until it waits.
    private func actions(_ plan: inout ConnectPlan, at milliseconds: Int) -> [ConnectPlan.Action] {
        var all: [ConnectPlan.Action] = []
        while all.count < 100 {
            all.append(plan.next(at: .milliseconds(milliseconds)))
            if case .wait = all[all.count - 1] { break }
            if all[all.count - 1] == .giveUp { break }
        }
        return all
    }

    private func begun(_ hosts: String..., isRepeating: Bool = true) -> ConnectPlan {
        var plan = ConnectPlan(isRepeating: isRepeating)
        #expect(plan.next(at: .zero) == .resolve)
        plan.resolved(hosts.map(Self.address), at: .zero)
        return plan
    }

    @Test func theNextIsTriedAMomentAfterOneThatIsSilent() {
        var plan = begun("10.0.0.1", "10.0.0.2", "10.0.0.3")
        #expect(actions(&plan, at: 0) == [.connect(1, Self.address("10.0.0.1")), .wait(until: .milliseconds(250))])
        #expect(actions(&plan, at: 100) == [.wait(until: .milliseconds(250))])
        #expect(actions(&plan, at: 250) == [.connect(2, Self.address("10.0.0.2")), .wait(until: .milliseconds(500))])
        // One that fails makes room at once.
        plan.failed(2, at: .milliseconds(300))
        #expect(actions(&plan, at: 300) == [.connect(3, Self.address("10.0.0.3")), .wait(until: .milliseconds(1300))])
    }

    /// A silent one goes on, and holds nobody up.
    @Test func theOthersAreTriedAgainBesideOneThatIsSilent() {
        var plan = begun("10.0.0.1", "10.0.0.2")
        _ = actions(&plan, at: 0)
        _ = actions(&plan, at: 250)
        plan.failed(2, at: .milliseconds(251))
        #expect(actions(&plan, at: 251) == [.wait(until: .milliseconds(1000))])
        #expect(actions(&plan, at: 1000) == [.wait(until: .milliseconds(1005))])
        #expect(actions(&plan, at: 1005) == [.resolve, .wait(until: nil)])
        plan.resolved([Self.address("10.0.0.1"), Self.address("10.0.0.2")], at: .milliseconds(1006))
        #expect(actions(&plan, at: 1006) == [.connect(3, Self.address("10.0.0.2")), .wait(until: .milliseconds(2006))])
        // Its answer may be the one that comes.
        plan.failed(3, at: .milliseconds(1007))
        plan.failed(1, at: .milliseconds(1008))
        #expect(actions(&plan, at: 1008) == [.wait(until: .milliseconds(1018))])
    }

    @Test func aNameThatMovesIsFollowed() {
        var plan = begun("10.0.0.1")
        _ = actions(&plan, at: 0)
        #expect(actions(&plan, at: 1000) == [.wait(until: .milliseconds(1005))])
        #expect(actions(&plan, at: 1005) == [.resolve, .wait(until: nil)])
        plan.resolved([Self.address("10.0.0.9")], at: .milliseconds(1005))
        #expect(
            actions(&plan, at: 1005)
                == [.abandon(1), .connect(2, Self.address("10.0.0.9")), .wait(until: .milliseconds(2005))])
        // A resolver that has nothing for the moment takes nothing away.
        _ = actions(&plan, at: 2005)
        #expect(actions(&plan, at: 2015) == [.resolve, .wait(until: nil)])
        plan.resolved([], at: .milliseconds(2015))
        #expect(actions(&plan, at: 2015) == [.wait(until: .milliseconds(2035))])
    }

    @Test func onceMeansOnce() {
        var plan = begun("10.0.0.1", "10.0.0.2", isRepeating: false)
        _ = actions(&plan, at: 0)
        _ = actions(&plan, at: 250)
        // The system decides how long an attempt may take.
        #expect(actions(&plan, at: 60_000) == [.wait(until: nil)])
        plan.failed(1, at: .seconds(60))
        #expect(actions(&plan, at: 60_000) == [.wait(until: nil)])
        plan.failed(2, at: .seconds(61))
        #expect(actions(&plan, at: 61_000) == [.giveUp])
        var nothing = begun(isRepeating: false)
        #expect(actions(&nothing, at: 0) == [.giveUp])
    }

    @Test func familiesTakeTurnsAndNothingIsTriedTwice() {
        var plan = begun("fe80::1", "fe80::2", "10.0.0.1", "fe80::2", "10.0.0.2", isRepeating: false)
        var order: [String] = []
        for second in 0..<4 {
            for case .connect(_, let address) in actions(&plan, at: second * 1000) { order.append(address.host) }
        }
        #expect(order == ["fe80::1", "10.0.0.1", "fe80::2", "10.0.0.2"])
    }

    /// Names with more silent addresses than are tried at a time.
    @Test func manySilentOnesMakeRoom() {
        var plan = begun(isRepeating: true)
        plan = ConnectPlan(isRepeating: true)
        _ = plan.next(at: .zero)
        plan.resolved((1...40).map { Self.address("10.0.0.\($0)") }, at: .zero)
        var tried = 0
        var inFlight = 0
        for quarter in 0..<40 {
            for action in actions(&plan, at: quarter * 250) {
                if case .connect = action { (tried, inFlight) = (tried + 1, inFlight + 1) }
                if case .abandon = action { inFlight -= 1 }
                #expect(inFlight <= 16)
            }
        }
        #expect(tried == 40)
    }

    @Test(arguments: [
        ("127.0.0.1", true, false), ("127.0.1.1", true, false), ("::1", true, false), ("::ffff:127.0.0.1", true, false),
        ("0.0.0.0", false, true), ("::", false, true), ("[::]", false, true), ("::ffff:0.0.0.0", false, true),
        ("10.0.0.1", false, false), ("fe80::1", false, false), ("::ffff:10.0.0.1", false, false), ("128.0.0.1", false, false),
        ("1::", false, false), ("::2", false, false),
    ])
    func whatLeadsToThisHostOnly(host: String, isLoopback: Bool, isUnspecified: Bool) {
        let address = Self.address(host)
        #expect(address.isLoopback == isLoopback && address.isUnspecified == isUnspecified)
    }
}
