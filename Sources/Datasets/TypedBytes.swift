extension [UInt8] {
    /// `withUnsafeMutableBytes`, whose `rethrows` would forget the type of the error.
    mutating func withMutableBytes<Value>(
        _ body: (UnsafeMutableRawBufferPointer) throws(DatasetError) -> Value
    ) throws(DatasetError) -> Value {
        // SAFETY: the buffer is passed on to `body` only, under the same terms.
        let result = withUnsafeMutableBytes { buffer in
            Result { () throws(DatasetError) in try body(buffer) }
        }
        return try result.get()
    }
}
