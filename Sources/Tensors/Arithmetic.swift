/// By which rules this build computes: the order of every sum, where operations are fused, the sequences of elementary
/// functions.
///
/// The same rules give the same bits on every CPU, with any number of threads. Whatever changes one of them changes all
/// digests: it gets the next number, and a run goes on only by the rules that it began with.
public enum Arithmetic {
    /// The number of this build's rules, as checkpoints have it.
    public static let version = 1
}
