#!/usr/bin/env python3
"""Prints the line `weights sha256 HEX` for a safetensors file, as a run of Lockstep does for its final weights.

    scripts/weights-digest.py DIR/checkpoints/step-00001000/weights.safetensors

The encoding is in Sources/Checkpoints/WeightsDigest.swift. Needs nothing but Python 3."""

import hashlib
import json
import struct
import sys

with open(sys.argv[1], "rb") as file:
    (length,) = struct.unpack("<Q", file.read(8))
    header = json.loads(file.read(length))
    data = file.read()
header.pop("__metadata__", None)


def number(value):
    return struct.pack("<Q", value)


digest = hashlib.sha256(b"lockstep weights 1\n" + number(len(header)))
for name, entry in sorted(header.items(), key=lambda item: item[0].encode()):
    begin, end = entry["data_offsets"]
    for text in (name.encode(), entry["dtype"].encode()):
        digest.update(number(len(text)) + text)
    digest.update(number(len(entry["shape"])) + b"".join(map(number, entry["shape"])))
    digest.update(number(end - begin) + data[begin:end])
print("weights sha256", digest.hexdigest())
