import Glibc
import TestSupport
import Testing
import Wire

/// A ring of three in a process of its own, which strangers pester: on its ranks' ports while the ring is not yet whole, and on the
/// coordinator's while it works.
@Suite struct StrangerTests {
    @Test func strangersAreRefusedAndDisturbNobody() throws {
        let folder = try TemporaryFolder()
        let goPath = folder("go")
        let job = try ProbeJob(arguments: ["ring", "3", "3000", "6000", goPath])
        defer { job.stop() }
        let first = try #require(job.waitForLine { $0.hasPrefix("port ") })
        let words = first.split(separator: " ").map(String.init)
        let port = try #require(UInt16(words[1]))
        let secret = try Secret(hexadecimal: words[3])

        // Ranks 0 and 1 have joined; nobody has announced a ring yet, so strangers wait unread.
        let ports = try #require(job.waitForListeners(count: 3)).filter { $0 != port }
        var early: [Int32] = []
        for port in ports {
            for approach in Stranger.allCases { early.append(try #require(approach.connect(to: port, secret, purpose: .ring))) }
        }
        close(creat(goPath, 0o600))
        // The ring is formed all the same, and who has said enough is sent away.
        for (index, stranger) in early.enumerated() where Stranger.allCases[index % Stranger.allCases.count].isRefusedAtOnce {
            #expect(isClosed(stranger, within: 120), "\(Stranger.allCases[index % Stranger.allCases.count])")
        }

        var refused = 0
        var residentBefore = 0
        var residentAfter = 0
        while !job.hasEnded, refused < 3000 {
            for approach in Stranger.allCases where approach.isRefusedAtOnce {
                guard let stranger = approach.connect(to: port, secret, purpose: .control) else { break }
                if isClosed(stranger, within: 120) { refused += 1 } else { Issue.record("\(approach) was not refused") }
                close(stranger)
            }
            guard let resident = job.residentBytes else { break }
            if refused <= 100 { residentBefore = resident }
            residentAfter = resident
        }
        let last = job.waitForLine { $0.hasPrefix("allocations ") }
        #expect(last != nil, "the job did not come to its end: \(job.lines)")
        #expect(job.waitForEnd() == .exited(status: 0))
        #expect(refused >= 100)
        #expect(residentAfter - residentBefore < 8 << 20, "\(residentBefore) bytes grew to \(residentAfter)")
        // Told once for each cause, however many came.
        let told = job.lines.filter { $0.hasPrefix("refused ") }
        #expect(told.count >= 3 && Set(told).count == told.count && told.count <= 16, "\(told)")
        for stranger in early { close(stranger) }
        print("\(refused) strangers refused; resident \(residentBefore >> 10) KiB, then \(residentAfter >> 10) KiB")
    }

    /// More silent connections to a rank's port than may wait there: the left neighbour must find its place all the same.
    @Test func aPortScanKeepsNobodyOut() throws {
        let folder = try TemporaryFolder()
        let goPath = folder("go")
        let job = try ProbeJob(arguments: ["ring", "3", "10", "20", goPath])
        defer { job.stop() }
        let first = try #require(job.waitForLine { $0.hasPrefix("port ") })
        let port = try #require(UInt16(first.split(separator: " ")[1]))
        let secret = try Secret.random()
        let ports = try #require(job.waitForListeners(count: 3)).filter { $0 != port }
        let scan = ports.flatMap { port in (0..<40).map { _ in Stranger.silence.connect(to: port, secret, purpose: .ring) } }
        close(creat(goPath, 0o600))
        #expect(job.waitForEnd() == .exited(status: 0), "\(job.lines)")
        for case let stranger? in scan { close(stranger) }
    }
}
