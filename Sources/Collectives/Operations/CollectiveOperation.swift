import Wire

/// One operation as the caller submits it: memory of the caller's, alive until the operation has ended.
///
/// `source` and `result` are where element 0 of all `count` stands, or would stand: a reduce-scatter writes chunk `rank` of the
/// result only (and, with a copy, the one before it), an all-gather reads what that writes, and a broadcast reads or writes all of it.
/// Those two read no source.
package struct CollectiveOperation {
    package var reduction: Reduction
    package var source: UnsafeRawPointer
    package var result: UnsafeMutableRawPointer
    package var count: Int
    package var pattern: RingPlan.Pattern
    /// Chunks begin at multiples of it.
    package var grain: Int

    package init(
        reduction: Reduction, source: UnsafeRawPointer, result: UnsafeMutableRawPointer, count: Int,
        pattern: RingPlan.Pattern = .allReduce, grain: Int = 1
    ) {
        self.pattern = pattern
        self.grain = grain
        self.reduction = reduction
        self.source = source
        self.result = result
        self.count = count
    }

    /// So many operations may be under way at a time.
    package static var mostUnderWay: Int { 1024 }

    /// What the operation is, as a frame's header has it: element type, reduction and pattern, but for a broadcast's root.
    package var signature: UInt16 {
        let pattern: UInt16 =
            switch self.pattern {
            case .allReduce: 0
            case .reduceScatter(let copies): copies == 0 ? 1 : 4
            case .allGather(let copies): copies == 0 ? 2 : 5
            case .broadcast: 3
            }
        return UInt16(reduction.element.rawValue) | UInt16(reduction.operation.rawValue) << 4 | pattern << 8
    }

    /// "all-reduce (float32 sum)", for messages; "?" for a signature that no rank of this build has.
    static func name(ofSignature signature: UInt16) -> String {
        let names = ["all-reduce", "reduce-scatter", "all-gather", "broadcast", "reduce-scatter with copies", "all-gather from copies"]
        guard let element = Reduction.Element(rawValue: UInt8(signature & 0xF)),
            let operation = ReduceOperation(rawValue: UInt8(signature >> 4 & 0xF)), element != .carrier || operation == .sum,
            Int(signature >> 8) < names.count
        else { return "?" }
        let pattern = names[Int(signature >> 8)]
        return pattern.contains("reduce") ? "\(pattern) (\(Reduction(element, operation).name))" : "\(pattern) (\(element))"
    }

    /// "all-reduce (float32 sum) of 5 elements".
    var name: String { "\(CollectiveOperation.name(ofSignature: signature)) of \(count) elements" }

    /// Whether a frame's header speaks of this operation, which is the program's number `sequence`.
    func isMeant(by header: FrameHeader, sequence: UInt64) -> Bool {
        header.operation == sequence && header.signature == signature && header.elementCount == UInt64(count)
    }
}

extension CollectiveError {
    /// A frame from a rank speaks of another operation than the one at hand here.
    static func mismatch(_ header: FrameHeader, from rank: Int, _ ours: CollectiveOperation, sequence: UInt64) -> CollectiveError {
        .mismatch(rank: rank, operation: header.operation, theirs: name(header), ours: "\(ours.name) as its number \(sequence)")
    }

    /// A frame is of a kind of operation (ring or exchange) that the one with its number is not of here. `ours` is the program's last
    /// operation, where that may be the one.
    static func differentKinds(
        _ header: FrameHeader, from rank: Int, _ ours: CollectiveOperation?, sequence: UInt64
    ) -> CollectiveError {
        if let ours { return mismatch(header, from: rank, ours, sequence: sequence) }
        return .mismatch(rank: rank, operation: header.operation, theirs: name(header), ours: "another")
    }

    private static func name(_ header: FrameHeader) -> String {
        "\(CollectiveOperation.name(ofSignature: header.signature)) of \(header.elementCount) elements"
    }
}
