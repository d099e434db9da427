extension RingProtocol.Operation {
    /// What the operation is, as a frame's header has it: element type, reduction and pattern, but for a broadcast's root.
    var signature: UInt16 {
        let pattern: UInt16 =
            switch self.pattern {
            case .allReduce: 0
            case .reduceScatter: 1
            case .allGather: 2
            case .broadcast: 3
            case .exchange: 4
            }
        return UInt16(reduction.element.rawValue) | UInt16(reduction.operation.rawValue) << 4 | pattern << 8
    }

    /// "all-reduce (float32 sum)", for messages; "?" for a signature that no rank of this build has.
    static func name(ofSignature signature: UInt16) -> String {
        let names = ["all-reduce", "reduce-scatter", "all-gather", "broadcast", "all-reduce"]
        guard let element = Reduction.Element(rawValue: UInt8(signature & 0xF)),
            let operation = ReduceOperation(rawValue: UInt8(signature >> 4 & 0xF)), element != .carrier || operation == .sum,
            Int(signature >> 8) < names.count
        else { return "?" }
        let pattern = names[Int(signature >> 8)]
        return pattern.contains("reduce") ? "\(pattern) (\(Reduction(element, operation).name))" : "\(pattern) (\(element))"
    }
}
