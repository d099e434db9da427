#!/usr/bin/env python3
"""Golden values for Tests/DatasetsTests/SampleOrderTests.swift: the order of an epoch, written down a second time.

The definition is in Sources/Datasets/SampleOrder.swift and SplitMix.swift. Needs nothing but Python 3."""

MASK = (1 << 64) - 1
INCREMENT = 0x9E3779B97F4A7C15


def mix(z):
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def key(seed, index):
    return mix((mix((seed + INCREMENT) & MASK) + INCREMENT * (index + 1)) & MASK)


def sample(seed, count, epoch, position):
    bits = (count - 1).bit_length()
    high_bits, low_bits = bits // 2, bits - bits // 2
    block = position
    while True:
        high, low = block >> low_bits, block & ((1 << low_bits) - 1)
        round_key = key(seed, epoch)
        for _ in range(8):
            round_key = (round_key + INCREMENT) & MASK
            high ^= mix(round_key ^ low) & ((1 << high_bits) - 1)
            round_key = (round_key + INCREMENT) & MASK
            low ^= mix(round_key ^ high) & ((1 << low_bits) - 1)
        block = high << low_bits | low
        if block < count:
            return block


for seed, count, epoch in [(0, 10, 0), (0, 10, 1), (1, 10, 0), (2**64 - 1, 3, 7), (42, 60000, 3), (42, 2**40, 2)]:
    print(seed, count, epoch, [sample(seed, count, epoch, p) for p in range(min(count, 10))])
print("phases", [key(7, e) % 64 for e in range(5)])
