#!/usr/bin/env python3
"""The checksums in Tests/DatasetsTests/DigitsTests.swift. Needs nothing but Python 3."""

import gzip
import pathlib
import zlib

path = pathlib.Path(__file__).parent.parent / "Sources/Datasets/Resources/digits.csv.gz"
rows = [bytes(map(int, line.split(","))) for line in gzip.decompress(path.read_bytes()).decode().split()]
for name, part in [
    ("training", [row for index, row in enumerate(rows) if index % 5 != 0]),
    ("test", [row for index, row in enumerate(rows) if index % 5 == 0]),
]:
    data = b"".join(row[:64] for row in part) + bytes(row[64] for row in part)
    print(name, len(part), hex(zlib.crc32(data)))
