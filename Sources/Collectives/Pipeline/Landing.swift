/// Where the payload that follows a header belongs.
package enum Landing {
    case at(UnsafeMutableRawBufferPointer)
    /// Its place is still in use: stop reading until the link's `resume`, then give the same header again.
    case pause
}
