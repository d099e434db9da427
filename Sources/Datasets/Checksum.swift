import CZlib

/// zlib's CRC-32 (`crc32_z`), the one of gzip and PNG.
enum Checksum {
    static func crc32(_ bytes: ArraySlice<UInt8>, continuing checksum: UInt32 = 0) -> UInt32 {
        // SAFETY: zlib reads `buffer.count` bytes during the call and keeps no pointer.
        bytes.withUnsafeBufferPointer { buffer in
            UInt32(crc32_z(uLong(checksum), buffer.baseAddress, buffer.count))
        }
    }
}
