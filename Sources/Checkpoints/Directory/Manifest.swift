/// What a checkpoint says about itself: where the run stood, by which recipe, and what its files have to be.
///
/// It is stored as `manifest.json`, with a digest of its own, so that an altered manifest is noticed just as an altered
/// file is. It holds no time, host or process: the same run writes the same bytes.
public struct Manifest: Sendable, Hashable {
    /// The version of the layout that this build writes, and the only one it reads.
    public static let supportedFormatVersion = 1

    /// A file of the checkpoint.
    public struct File: Sendable, Hashable {
        /// Its name in the checkpoint's directory.
        public let name: String
        /// Its size.
        public let byteCount: Int
        /// The SHA-256 of its bytes.
        public let digest: Digest
    }

    /// The number of steps committed.
    public let step: Int
    /// The epoch of the next step, from 0.
    public let epoch: Int
    /// The number of the next step within its epoch, from 0.
    public let stepInEpoch: Int
    /// `Digest.ofWeights` of the weights: what the line `weights sha256 HEX` of a run that ended here shows.
    public let weightsDigest: Digest
    /// Whatever the trainer needs to go on, or to build the same model: opaque here.
    public let recipe: JSONValue
    /// The files beside the manifest.
    public let files: [File]
    /// The version of Lockstep that wrote it.
    public let lockstepVersion: String
    /// The number of the rules by which the run computes: a run goes on only by the same. nil for runs of before there
    /// were numbers, whose bits depend on the kind of CPU.
    public let arithmetic: Int?

    /// The manifest as the text of `manifest.json`.
    ///
    /// `manifest_sha256` is the digest of the same object without that member, its keys in order, without spaces.
    func serialized() -> String {
        let unsealed = members
        let digest = Digest.of(JSONValue.object(unsealed).serialized().utf8)
        return JSONValue.object(unsealed.merging([Key.seal: .string(digest.hex)]) { $1 }).serialized(indented: true) + "\n"
    }

    private var members: [String: JSONValue] {
        var members: [String: JSONValue] = [
            Key.formatVersion: .integer(Manifest.supportedFormatVersion),
            Key.lockstepVersion: .string(lockstepVersion),
            Key.step: .integer(step),
            Key.epoch: .integer(epoch),
            Key.stepInEpoch: .integer(stepInEpoch),
            Key.weightsDigest: .string(weightsDigest.hex),
            Key.recipe: recipe,
            Key.files: .array(
                files.map { file in
                    [
                        Key.fileName: .string(file.name), Key.fileBytes: .integer(file.byteCount),
                        Key.fileDigest: .string(file.digest.hex),
                    ]
                }),
        ]
        members[Key.arithmetic] = arithmetic.map { .integer($0) }
        return members
    }

    fileprivate enum Key {
        static let arithmetic = "arithmetic"
        static let formatVersion = "format_version"
        static let lockstepVersion = "lockstep_version"
        static let step = "step"
        static let epoch = "epoch"
        static let stepInEpoch = "step_in_epoch"
        static let weightsDigest = "weights_sha256"
        static let recipe = "recipe"
        static let files = "files"
        static let fileName = "name"
        static let fileBytes = "bytes"
        static let fileDigest = "sha256"
        static let seal = "manifest_sha256"
    }
}

extension Manifest {
    /// Reads and checks the text of the manifest at `path`.
    init(parsing bytes: [UInt8], path: String) throws(CheckpointError) {
        let value: JSONValue
        do {
            value = try JSONValue(parsing: bytes)
        } catch {
            throw .invalidManifest(path: path, reason: error.description)
        }
        guard var members = value.object else { throw .invalidManifest(path: path, reason: "it is not an object") }
        // The version comes first: a later one may be sealed in another way.
        guard let version = members[Key.formatVersion]?.integer else {
            throw .invalidManifest(path: path, reason: "it has no \(Key.formatVersion)")
        }
        guard version == Manifest.supportedFormatVersion else {
            throw .unsupportedVersion(path: path, found: version, supported: Manifest.supportedFormatVersion)
        }
        guard let seal = members.removeValue(forKey: Key.seal)?.string else {
            throw .invalidManifest(path: path, reason: "it has no \(Key.seal)")
        }
        guard Digest.of(JSONValue.object(members).serialized().utf8).hex == seal else {
            throw .invalidManifest(path: path, reason: "it was altered: it does not match its \(Key.seal)")
        }
        // The seal is of the values. Whatever else is in the file, such as white space, has one spelling too.
        guard Array((value.serialized(indented: true) + "\n").utf8) == bytes else {
            throw .invalidManifest(path: path, reason: "it was altered: it is not spelled as Lockstep spells it")
        }
        guard let manifest = Manifest(members: members) else {
            throw .invalidManifest(path: path, reason: "a member is missing or of the wrong kind")
        }
        self = manifest
    }

    private init?(members: [String: JSONValue]) {
        guard let lockstepVersion = members[Key.lockstepVersion]?.string,
            let step = members[Key.step]?.integer, step >= 0,
            let epoch = members[Key.epoch]?.integer, epoch >= 0,
            let stepInEpoch = members[Key.stepInEpoch]?.integer, stepInEpoch >= 0,
            let weightsDigest = members[Key.weightsDigest]?.string.flatMap(Digest.init(hex:)),
            let recipe = members[Key.recipe],
            let entries = members[Key.files]?.array
        else { return nil }
        let arithmetic = members[Key.arithmetic]?.integer
        guard arithmetic != nil || members[Key.arithmetic] == nil else { return nil }
        let files = entries.compactMap(File.init(entry:))
        guard files.count == entries.count else { return nil }
        self.init(
            step: step, epoch: epoch, stepInEpoch: stepInEpoch, weightsDigest: weightsDigest, recipe: recipe,
            files: files, lockstepVersion: lockstepVersion, arithmetic: arithmetic)
    }
}

extension Manifest.File {
    /// A name that leads out of the checkpoint's directory is no name.
    fileprivate init?(entry: JSONValue) {
        guard let name = entry[Manifest.Key.fileName]?.string, !name.isEmpty, !name.contains("/"), !name.hasPrefix("."),
            let byteCount = entry[Manifest.Key.fileBytes]?.integer, byteCount >= 0,
            let digest = entry[Manifest.Key.fileDigest]?.string.flatMap(Digest.init(hex:))
        else { return nil }
        self.init(name: name, byteCount: byteCount, digest: digest)
    }
}
