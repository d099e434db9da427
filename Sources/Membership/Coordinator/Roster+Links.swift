import Wire

/// Members that live, and cannot reach each other.
extension Roster {
    /// Two members cannot connect, or nothing arrives between them. Each is alive; if it stays so, one of them must go.
    mutating func complains(_ connection: Connection, _ about: UInt32, _ cause: String) {
        guard let rank = entries.rank(of: connection), rank != about, entries[about]?.isMember == true else { return }
        let report = LinkLedger.Report(by: rank, about: about, cause: cause)
        let (isNews, count) = links.failed(report, generation: generation)
        guard isNews else { return }
        if isStarting {
            // The others are about to say with which members they have no connection.
            let verdictAt = now + Roster.troubleTime
            return provision { $0.verdictAt = $0.verdictAt ?? verdictAt }
        }
        actions.append(.tell(.linkBroken(rank: Int(rank), other: Int(about), cause: cause)))
        guard count >= LinkLedger.mostFailures else { return }
        let culprit = links.culprit(of: report, generation: generation, own: configuration.ownRank)
        links.forget(report)
        guard let entry = entries[culprit] else { return }
        fence(entry, "\(describe(report)), \(count) times in a row")
    }

    /// A member's connection with another has ended: mostly because that one has died, or has stopped its ring itself.
    mutating func linkEnded(_ connection: Connection, _ about: UInt32, _ cause: String) {
        guard let rank = entries.rank(of: connection), rank != about else { return }
        links.ended(LinkLedger.Report(by: rank, about: about, cause: cause))
    }

    /// Where nothing else says why a ring is formed again, the first connection that ended is why.
    mutating func tellEndedLinks() {
        if !ring.isExplained, let end = links.firstEnd, entries[end.about]?.isMember == true,
            entries[end.by]?.isMember == true, links.reports(generation: generation).isEmpty
        {
            actions.append(.tell(.linkBroken(rank: Int(end.by), other: Int(end.about), cause: end.cause)))
        }
        links.beginGeneration()
    }

    /// "rank 1 on a (10.0.0.1) has no connection with rank 2 on b (10.0.0.2): ...".
    func describe(_ report: LinkLedger.Report) -> String {
        "\(name(report.by)) has no connection with \(name(report.about)): \(report.cause)"
    }

    private func name(_ rank: UInt32) -> String {
        guard let member = entries[rank]?.member else { return "rank \(rank)" }
        return "rank \(rank) on \(member.hostName) (\(member.host))"
    }
}
