import CProcess

/// Memory that grows with the model, for `deallocate()` or free(3). Where there is none the process ends with status 1 and one line that says for
/// what it was and what limits it: no caller could go on, and Swift's own answer is a backtrace.
package func allocateMemory(byteCount: Int, alignment: Int, for purpose: StaticString) -> UnsafeMutableRawPointer {
    purpose.withUTF8Buffer { text in
        text.withMemoryRebound(to: CChar.self) { lockstep_allocate(byteCount, alignment, $0.baseAddress) }
    }
}

/// The same for floats, which begin as nothing.
package func allocateFloats(_ count: Int, for purpose: StaticString) -> UnsafeMutableBufferPointer<Float> {
    let memory = allocateMemory(byteCount: max(count, 1) * MemoryLayout<Float>.stride, alignment: 64, for: purpose)
    return UnsafeMutableBufferPointer(start: memory.bindMemory(to: Float.self, capacity: max(count, 1)), count: count)
}
