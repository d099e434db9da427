import Datasets
import Glibc

/// Reads 48,000 windows of a file of tokens, far apart, as a training run does. Prints how many there are, and by how many bytes this process
/// has grown.
struct TokenMemory {
    let path: String

    init(arguments: [String]) {
        path = arguments[0]
    }

    func run() throws {
        let before = residentBytes()
        let text = try TokenText(file: path, validation: nil, vocabulary: 50257, context: 1024, seed: 1)
        let order = SampleOrder(seed: 1, count: text.training.count)
        for step in 0..<4000 {
            let samples = order.samples(epoch: 0, positions: step * 12..<step * 12 + 12)
            let batch = try text.training.batch(epoch: 0, samples)
            precondition(batch.tokens.count == 12 * 1024)
        }
        _ = try text.validation.batch(epoch: 0, [text.validation.count - 1])
        print("windows \(text.training.count) growth \(residentBytes() - before)")
    }

    private func residentBytes() -> Int {
        guard let file = fopen("/proc/self/statm", "r") else { return 0 }
        defer { fclose(file) }
        var (total, resident) = (0, 0)
        withUnsafeMutablePointer(to: &total) { total in
            withUnsafeMutablePointer(to: &resident) { resident in
                _ = withVaList([total, resident]) { vfscanf(file, "%ld %ld", $0) }
            }
        }
        return resident * Int(getpagesize())
    }
}
