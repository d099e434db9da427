/// The name of a checkpoint's directory, or of what a writer left behind.
struct CheckpointName: Hashable {
    enum Kind: Hashable {
        /// `step-00001000`: a whole checkpoint.
        case published
        /// `step-00001000.replaced-1`: a whole checkpoint too, for which another of the same step was about to be put.
        case replaced(Int)
        /// `.step-00001000.tmp-4711`: being written or removed by process 4711.
        case temporary(process: Int32)
    }

    let step: Int
    let kind: Kind

    private static let prefix = "step-"
    private static let replacedMark = ".replaced-"
    private static let temporaryMark = ".tmp-"
    private static let stepDigits = 8

    init(step: Int) {
        precondition(step >= 0, "step \(step)")
        self.init(step: step, kind: .published)
    }

    private init(step: Int, kind: Kind) {
        self.step = step
        self.kind = kind
    }

    /// The kind and step that a name stands for, or nil if it is spelled like none.
    init?(parsing name: String) {
        let isHidden = name.hasPrefix(".")
        let visible = isHidden ? name.dropFirst() : Substring(name)
        guard visible.hasPrefix(CheckpointName.prefix) else { return nil }
        let rest = visible.dropFirst(CheckpointName.prefix.count)
        let digits = rest.prefix { $0.isASCII && $0.isNumber }
        guard let step = Int(digits) else { return nil }
        let mark = rest.dropFirst(digits.count)
        if isHidden, mark.hasPrefix(CheckpointName.temporaryMark),
            let process = Int32(mark.dropFirst(CheckpointName.temporaryMark.count)), process > 0
        {
            self.init(step: step, kind: .temporary(process: process))
        } else if !isHidden, mark.hasPrefix(CheckpointName.replacedMark),
            let number = Int(mark.dropFirst(CheckpointName.replacedMark.count)), number > 0
        {
            self.init(step: step, kind: .replaced(number))
        } else if !isHidden, mark.isEmpty {
            self.init(step: step, kind: .published)
        } else {
            return nil
        }
        // Another spelling of the same number would be another directory.
        if final != name { return nil }
    }

    /// Whether a whole checkpoint should be found under the name.
    var isPublished: Bool {
        if case .temporary = kind { false } else { true }
    }

    /// The directory's name.
    var final: String {
        let digits = String(step)
        let padding = String(repeating: "0", count: max(0, CheckpointName.stepDigits - digits.count))
        let name = CheckpointName.prefix + padding + digits
        switch kind {
        case .published: return name
        case .replaced(let number): return "\(name)\(CheckpointName.replacedMark)\(number)"
        case .temporary(let process): return ".\(name)\(CheckpointName.temporaryMark)\(process)"
        }
    }

    /// The name under which this process writes or removes the checkpoint of the step.
    var temporary: String {
        CheckpointName(step: step, kind: .temporary(process: ProcessNumber.own)).final
    }

    /// The name to which the step's checkpoint steps aside, for the `number`th time.
    func replaced(_ number: Int) -> CheckpointName {
        CheckpointName(step: step, kind: .replaced(number))
    }
}

extension CheckpointName: Comparable {
    /// Older before newer: by step, and of one step the one that replaced the others last.
    static func < (left: CheckpointName, right: CheckpointName) -> Bool {
        (left.step, left.age) < (right.step, right.age)
    }

    private var age: Int {
        switch kind {
        case .published: Int.max
        case .replaced(let number): number
        case .temporary: 0
        }
    }
}
