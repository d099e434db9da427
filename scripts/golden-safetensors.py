#!/usr/bin/env python3
"""Makes Tests/CheckpointsTests/Resources/golden.safetensors with the format's reference writer.

    python3 -m venv VENV && VENV/bin/pip install safetensors==0.5.3 && VENV/bin/python scripts/golden-safetensors.py

With `--check FILE` it reads a file that Lockstep wrote instead, and lists its tensors."""

import pathlib
import struct
import sys

import safetensors

# Every type that Lockstep knows, a scalar, an empty tensor, and names that need escapes.
TENSORS = {
    "f64": ("float64", [2], struct.pack("<2d", 1.5, -2.5)),
    "layers.0.weight": ("float32", [2, 3], struct.pack("<6f", 0, 1, 2, 3, 4, 5)),
    "layers.0.bias": ("float32", [3], struct.pack("<3f", 0.5, -0.5, 1e-45)),
    "scalar": ("float32", [], struct.pack("<f", 3.25)),
    "empty": ("float32", [0, 7], b""),
    "f16": ("float16", [2], struct.pack("<2e", 1.0, -2.0)),
    "bf16": ("bfloat16", [2], bytes([0x80, 0x3F, 0x00, 0xC0])),
    "i64": ("int64", [1], struct.pack("<q", -(2**62))),
    "i32": ("int32", [1], struct.pack("<i", -7)),
    "i16": ("int16", [1], struct.pack("<h", -7)),
    "i8": ("int8", [1], struct.pack("<b", -7)),
    "u8": ("uint8", [3], bytes([1, 2, 255])),
    "bool": ("bool", [2], bytes([1, 0])),
    'quote" backslash\\ é \U0001f993 line\n': ("uint8", [1], b"\x07"),
}

if len(sys.argv) == 3 and sys.argv[1] == "--check":
    data = pathlib.Path(sys.argv[2]).read_bytes()
    for name, entry in sorted(safetensors.deserialize(data)):
        print(repr(name), entry["dtype"], entry["shape"], bytes(entry["data"]).hex())
else:
    path = pathlib.Path(__file__).parent.parent / "Tests/CheckpointsTests/Resources/golden.safetensors"
    path.parent.mkdir(exist_ok=True)
    tensors = {name: {"dtype": t, "shape": shape, "data": data} for name, (t, shape, data) in TENSORS.items()}
    path.write_bytes(safetensors.serialize(tensors, {"format": "np", "made by": "scripts/golden-safetensors.py"}))
    print(path, path.stat().st_size, "bytes")
