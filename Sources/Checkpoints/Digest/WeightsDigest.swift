extension Digest {
    /// What the line `weights sha256 HEX` of a run shows: a digest of the weights and of nothing else.
    ///
    /// It depends on each tensor's name, type, shape and bytes, and not on their order, on a file's layout or on anything
    /// else that is stored beside them. What is hashed, with `n` standing for a number as eight bytes, little-endian:
    ///
    ///     "lockstep weights 1\n"  n(number of tensors)
    ///     for each tensor, in the order of the UTF-8 bytes of the names:
    ///         n(bytes of the name) name  n(bytes of the type's name) type's name, such as F32
    ///         n(rank) n(dimension) ...  n(bytes of the data) data, little-endian
    ///
    /// Every part is preceded by its length, so no two sets of weights spell the same bytes. `scripts/weights-digest.py`
    /// computes the same from a safetensors file.
    ///
    /// Names have to be distinct. Speed is that of SHA-256.
    public static func ofWeights(_ tensors: [StoredTensor]) -> Digest {
        let hash = SHA256()
        hash.update("lockstep weights 1\n")
        hash.update(tensors.count)
        for tensor in tensors.sorted(by: { $0.info.name.utf8.lexicographicallyPrecedes($1.info.name.utf8) }) {
            hash.update(tensor.info.name.utf8.count)
            hash.update(tensor.info.name)
            hash.update(tensor.info.type.rawValue.utf8.count)
            hash.update(tensor.info.type.rawValue)
            hash.update(tensor.info.shape.count)
            for dimension in tensor.info.shape { hash.update(dimension) }
            hash.update(tensor.bytes.count)
            hash.update(tensor.bytes)
        }
        return hash.digest()
    }

    /// The digest of one tensor: `ofWeights` of it alone. What `lockstep inspect` shows beside each name.
    public static func ofTensor(_ tensor: StoredTensor) -> Digest {
        ofWeights([tensor])
    }
}
