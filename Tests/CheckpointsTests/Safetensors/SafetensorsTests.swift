import Checkpoints
import Glibc
import Testing

struct SafetensorsTests {
    private let directory = TemporaryDirectory()

    private func file(_ json: String, data: Int, length: UInt64? = nil) -> String {
        let length = length ?? UInt64(json.utf8.count)
        let prefix = (0..<8).map { UInt8(truncatingIfNeeded: length >> (8 * $0)) }
        return directory.write("file", prefix + Array(json.utf8) + [UInt8](repeating: 7, count: data))
    }

    private func reason(_ path: String) -> String? {
        do {
            _ = try SafetensorsReader(path: path)
            return nil
        } catch .invalidSafetensors(path, let reason) {
            return reason
        } catch {
            return "not what was expected: \(error)"
        }
    }

    /// Made by the format's reference writer: scripts/golden-safetensors.py.
    @Test func aFileOfTheReferenceWriter() throws {
        let reader = try SafetensorsReader(path: directory.write("golden", PackageResources.golden_safetensors))
        #expect(reader.metadata == ["format": "np", "made by": "scripts/golden-safetensors.py"])
        let expected: [String: (StoredType, [Int], String)] = [
            "bf16": (.bfloat16, [2], "803f00c0"), "bool": (.bool, [2], "0100"), "empty": (.float32, [0, 7], ""),
            "f16": (.float16, [2], "003c00c0"), "f64": (.float64, [2], "000000000000f83f00000000000004c0"),
            "i16": (.int16, [1], "f9ff"), "i32": (.int32, [1], "f9ffffff"), "i64": (.int64, [1], "00000000000000c0"),
            "i8": (.int8, [1], "f9"), "layers.0.bias": (.float32, [3], "0000003f000000bf01000000"),
            "layers.0.weight": (.float32, [2, 3], "000000000000803f0000004000004040000080400000a040"),
            "quote\" backslash\\ é \u{1F993} line\n": (.uint8, [1], "07"), "scalar": (.float32, [], "00005040"),
            "u8": (.uint8, [3], "0102ff"),
        ]
        #expect(reader.tensors.count == expected.count)
        for (name, (type, shape, hex)) in expected {
            #expect(reader.info(name) == TensorInfo(name: name, type: type, shape: shape))
            let digits = try reader.bytes(name).map { String($0 / 16, radix: 16) + String($0 % 16, radix: 16) }
            #expect(digits.joined() == hex)
        }
        // Made by scripts/weights-digest.py from the same file.
        let contents = try reader.tensors.map { ($0, try reader.bytes($0.name)) }
        let memory = contents.map { info, bytes in
            let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 8)
            copy.copyBytes(from: bytes)
            return StoredTensor(info: info, bytes: UnsafeRawBufferPointer(copy))
        }
        defer { for tensor in memory { tensor.bytes.deallocate() } }
        let digest = "77a7b0175d8dfd720eb458522a46569236da184454d7c8eae9176b6c645bc75f"
        #expect(Digest.ofWeights(memory).hex == digest)
        #expect(Digest.ofWeights(memory.reversed()).hex == digest)

        // And back: the same tensors in the same order of bytes, aligned.
        let path = "\(directory.path)/copy"
        try SafetensorsWriter.write(memory.shuffled(), metadata: reader.metadata, to: path)
        let copy = try SafetensorsReader(path: path)
        #expect(copy.difference(from: reader.tensors) == nil)
        #expect(copy.metadata == reader.metadata)
        for (info, bytes) in contents { #expect(try copy.bytes(info.name) == bytes) }
        let written = directory.read("copy")
        try SafetensorsWriter.write(memory, metadata: reader.metadata, to: path)
        #expect(directory.read("copy") == written)
        let length = written[..<8].reversed().reduce(0) { $0 << 8 | Int($1) }
        #expect((8 + length) % 64 == 0)
        #expect(directory.list("").sorted() == ["copy", "golden"])
    }

    @Test func noTensors() throws {
        let path = "\(directory.path)/none"
        try SafetensorsWriter.write([], to: path)
        #expect(directory.read("none").count == 64)
        #expect(try SafetensorsReader(path: path).tensors.isEmpty)
    }

    @Test func largeTensorsAreStreamed() throws {
        // Larger than the writer's buffer, next to small ones.
        let large = (0..<700_001).map { UInt32(truncatingIfNeeded: $0 &* 2_654_435_761) }
        try large.withUnsafeBytes { bytes in
            try SafetensorsWriter.write(
                [
                    StoredTensor(name: "b", type: .int32, shape: [large.count], bytes: bytes),
                    StoredTensor(name: "a", type: .int32, shape: [1], bytes: .init(rebasing: bytes[4..<8])),
                    StoredTensor(name: "c", type: .int32, shape: [1], bytes: .init(rebasing: bytes[8..<12])),
                ], to: "\(directory.path)/large")
            let reader = try SafetensorsReader(path: "\(directory.path)/large")
            #expect(reader.tensors.map(\.name) == ["a", "b", "c"])
            #expect(try reader.bytes("b").elementsEqual(bytes))
            #expect(try reader.bytes("c").elementsEqual(bytes[8..<12]))
        }
    }

    @Test func aGoodHeaderIsTaken() {
        let entry = #"{"dtype":"F32","shape":[2],"data_offsets":[0,8]}"#
        #expect(reason(file("{\"a\":\(entry)}", data: 8)) == nil)
        #expect(reason(file("{\"a\":\(entry)}    \n", data: 8)) == nil)
        #expect(reason(file("{}", data: 0)) == nil)
    }

    @Test(arguments: [
        ("", 0, "does not begin with a brace"),
        ("[]", 0, "does not begin with a brace"),
        (" {}", 0, "does not begin with a brace"),
        ("{", 0, "not JSON"),
        ("{}x", 0, "not JSON"),
        (#"{"a":1}"#, 0, "its entry is not"),
        (#"{"a":{"dtype":"F32","shape":[2]}}"#, 8, "its entry is not"),
        (#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"x":1}}"#, 8, "its entry is not"),
        (#"{"a":{"dtype":"F33","shape":[2],"data_offsets":[0,8]}}"#, 8, "type F33 is not known"),
        (#"{"a":{"dtype":7,"shape":[2],"data_offsets":[0,8]}}"#, 8, "type is not a string"),
        (#"{"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}}"#, 8, "shape is impossible"),
        (#"{"a":{"dtype":"F32","shape":[2.0],"data_offsets":[0,8]}}"#, 8, "shape is impossible"),
        (#"{"a":{"dtype":"F32","shape":2,"data_offsets":[0,8]}}"#, 8, "shape is impossible"),
        (#"{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}"#, 0, "shape is impossible"),
        (#"{"a":{"dtype":"F32","shape":[9223372036854775808],"data_offsets":[0,0]}}"#, 0, "shape is impossible"),
        (#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}"#, 4, "takes 8 bytes, its offsets 4"),
        (#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}"#, 8, "offsets are impossible"),
        (#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[-8,0]}}"#, 8, "offsets are impossible"),
        (#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0]}}"#, 8, "offsets are impossible"),
        (#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#, 7, "beyond the end"),
        (#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#, 9, "1 bytes follow"),
        (#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}"#, 12, "unused bytes"),
        (#"{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}"#, 3,
            "overlaps"),
        (#"{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[3,5]}}"#, 5,
            "unused bytes"),
        (#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#, 1,
            "occurs twice"),
        (#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[9223372036854775806,9223372036854775807]}}"#, 1, "unused bytes"),
        (#"{"__metadata__":[]}"#, 0, "metadata is not an object"),
        (#"{"__metadata__":{"a":1}}"#, 0, "is not a string"),
    ])
    func aBadHeaderIsRefused(json: String, data: Int, expected: String) {
        let reason = reason(file(json, data: data))
        #expect(reason?.contains(expected) == true, "\(reason ?? "accepted")")
    }

    /// As many elements of each type of the format as fill whole bytes, and one more, which does not where elements share bytes.
    @Test(arguments: [
        ("F64", 64), ("F32", 32), ("F16", 16), ("BF16", 16), ("I64", 64), ("I32", 32), ("I16", 16), ("I8", 8), ("U64", 64), ("U32", 32),
        ("U16", 16), ("U8", 8), ("BOOL", 8), ("C64", 64), ("F8_E4M3", 8), ("F8_E5M2", 8), ("F8_E8M0", 8), ("F8_E4M3FNUZ", 8),
        ("F8_E5M2FNUZ", 8), ("F6_E2M3", 6), ("F6_E3M2", 6), ("F4", 4),
    ])
    func everyTypeOfTheFormatIsRead(type: String, bits: Int) throws {
        func entry(_ count: Int, _ bytes: Int) -> String {
            "{\"a\":{\"dtype\":\"\(type)\",\"shape\":[2,\(count)],\"data_offsets\":[0,\(bytes)]}}"
        }
        let reader = try SafetensorsReader(path: file(entry(4, bits), data: bits))
        #expect(reader.tensors == [TensorInfo(name: "a", type: StoredType(rawValue: type), shape: [2, 4])])
        #expect(try reader.bytes("a").count == bits)
        #expect(reason(file(entry(4, bits + 1), data: bits + 1))?.contains("takes \(bits) bytes") == true)
        if bits % 8 != 0 { #expect(reason(file(entry(3, bits), data: bits))?.contains("shape is impossible") == true || bits * 6 % 8 == 0) }
    }

    /// A type that this build does not know is listed with what its offsets say, where that is asked for.
    @Test func unknownTypesAreTakenOnRequestOnly() throws {
        let path = file(
            #"{"a":{"dtype":"F5_X","shape":[3,3],"data_offsets":[0,6]},"b":{"dtype":"U8","shape":[2],"data_offsets":[6,8]}}"#, data: 8)
        #expect(reason(path)?.contains("type F5_X is not known") == true)
        let reader = try SafetensorsReader(path: path, takesUnknownTypes: true)
        #expect(reader.tensors.map(\.type.rawValue) == ["F5_X", "U8"] && reader.tensors.map(\.byteCount) == [6, 2])
        #expect(try reader.bytes("a").count == 6)
        for wrong in [#"[3,-3]"#, #"[3.5]"#, "7"] {
            let path = file("{\"a\":{\"dtype\":\"F5_X\",\"shape\":\(wrong),\"data_offsets\":[0,6]}}", data: 6)
            #expect(throws: CheckpointError.self) { try SafetensorsReader(path: path, takesUnknownTypes: true) }
        }
    }

    @Test(arguments: [3, 100_000_001, UInt64(Int64.max), UInt64.max]) func impossibleHeaderLengths(length: UInt64) {
        #expect(reason(file("{}", data: 0, length: length))?.contains("cannot have \(length)") == true)
    }

    @Test(arguments: 0..<8) func tooShortForALength(count: Int) {
        let path = directory.write("short", [UInt8](repeating: 0, count: count))
        #expect(reason(path)?.contains("only \(count) bytes") == true)
    }

    /// Damaged headers never trap; what is accepted can be read.
    @Test func randomlyDamagedFiles() throws {
        var random = SeededGenerator(seed: 8)
        let golden = PackageResources.golden_safetensors
        var accepted = 0
        for _ in 0..<5000 {
            var bytes = golden
            for _ in 0..<Int.random(in: 1...4, using: &random) {
                let index = Int.random(in: 0..<bytes.count, using: &random)
                switch Int.random(in: 0..<4, using: &random) {
                case 0: bytes[index] = UInt8.random(in: 0...255, using: &random)
                case 1: bytes[index] = Array("0123456789-{}[],:\"".utf8).randomElement(using: &random)!
                case 2: bytes.remove(at: index)
                default: bytes.insert(bytes[index], at: index)
                }
            }
            let path = directory.write("damaged", bytes)
            guard let reader = try? SafetensorsReader(path: path) else { continue }
            accepted += 1
            for info in reader.tensors { #expect(try reader.bytes(info.name).count == info.byteCount) }
        }
        #expect(accepted > 0 && accepted < 2500)
    }

    @Test func tensorsThatAreNotThere() throws {
        let reader = try SafetensorsReader(path: directory.write("golden", PackageResources.golden_safetensors))
        #expect(reader.info("nothing") == nil)
        #expect(throws: CheckpointError.missingTensor(path: reader.path, name: "nothing")) { try reader.bytes("nothing") }
        #expect(throws: CheckpointError.system(operation: "open", path: "/nonexistent", errno: ENOENT)) {
            try SafetensorsReader(path: "/nonexistent")
        }
        #expect(throws: CheckpointError.system(operation: "look at", path: "/tmp", errno: EINVAL)) {
            try SafetensorsReader(path: "/tmp")
        }
    }

    @Test func aFileThatBecomesShorter() throws {
        let reader = try SafetensorsReader(path: directory.write("golden", PackageResources.golden_safetensors))
        truncate(reader.path, 900)
        #expect(throws: CheckpointError.self) { for info in reader.tensors { _ = try reader.bytes(info.name) } }
    }

    @Test func differencesInOneLine() throws {
        let entry = #"{"dtype":"F32","shape":[2],"data_offsets":[0,8]}"#
        let reader = try SafetensorsReader(path: file("{\"a\":\(entry)}", data: 8))
        let same = TensorInfo(name: "a", type: .float32, shape: [2])
        #expect(reader.difference(from: [same]) == nil)
        #expect(
            reader.difference(from: [TensorInfo(name: "a", type: .float32, shape: [1, 2])])
                == "\"a\" is F32[1x2] in the model and F32[2] in the file")
        #expect(
            reader.difference(from: [same, TensorInfo(name: "b", type: .float64, shape: [])])
                == "the model's \"b\" F64[] is not in the file")
        #expect(
            reader.difference(from: [TensorInfo(name: "b", type: .float32, shape: [2])])
                == "the model's \"b\" F32[2] is not in the file, and 1 more difference")
        #expect(reader.difference(from: []) == "the file's \"a\" F32[2] is not in the model")
    }

    /// A write that fails leaves the older file as it was, and nothing else.
    @Test(arguments: [ENOSPC, EIO]) func anExportThatFails(code: Int32) throws {
        let old = directory.write("export", [1, 2, 3])
        let fileSystem = FaultyFileSystem(.none)
        try SafetensorsWriter.write([], to: old, fileSystem: fileSystem)
        for call in 2..<fileSystem.calls {
            directory.write("export", [1, 2, 3])
            #expect(throws: CheckpointError.self, "call \(call)") {
                try SafetensorsWriter.write([], to: old, fileSystem: FaultyFileSystem(.failure(at: call, code: code)))
            }
            #expect(directory.list("") == ["export"])
            #expect([3, 64].contains(directory.read("export").count))
        }
    }
}
