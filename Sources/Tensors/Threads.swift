import CTensorKernels

/// Sets how many threads matrix products use in this process; call it on the thread that computes, before the first
/// product. The number is part of the recipe: another one may give other bits, which is why it never follows the
/// number of workers or cores. Returns false when oneDNN was built without OpenMP; `OMP_NUM_THREADS` then has no
/// effect either.
@discardableResult
public func setThreadsPerWorker(_ count: Int) -> Bool {
    precondition(count >= 1, "a worker needs at least one thread, not \(count)")
    return tensor_set_threads(Int32(clamping: count))
}
