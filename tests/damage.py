"""Ways to damage .fgs files."""

from dataclasses import replace

import numpy as np

from fastgs.codec.frame import MAGIC, VERSION, read_frame, write_frame


def mutate(data: bytes, rng: np.random.Generator, start: int = 0) -> bytes:
    """Flip bits, or change, insert, delete or overwrite a few bytes, from an index on."""
    changed = bytearray(data)
    for _ in range(rng.integers(1, 6)):
        place = int(rng.integers(min(start, len(changed)), len(changed) + 1))
        kind = rng.integers(0, 5)
        if kind == 0:
            changed[place : place + 1] = rng.bytes(1)
        elif kind == 1:
            changed[place:place] = rng.bytes(int(rng.integers(1, 9)))
        elif kind == 2:
            del changed[place : place + int(rng.integers(1, 9))]
        elif kind == 3:
            changed[place : place + 4] = bytes([rng.choice([0, 127, 255])]) * 4
        elif place < len(changed):
            changed[place] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def damage(data: bytes, kind: int, rng: np.random.Generator) -> bytes:
    """Damage a file in one of eight ways; from kind 4 on, all checksums are right."""
    if kind == 0:
        return mutate(data, rng)
    if kind == 1:
        return data[: rng.integers(0, len(data))]
    if kind == 2:
        return rng.bytes(int(rng.integers(0, 300)))
    if kind == 3:
        return MAGIC + bytes([rng.integers(1, VERSION + 1)]) + rng.bytes(int(rng.integers(0, 300)))
    frame = read_frame(data)
    # Behind the models, most changes give other symbols.
    layers = [
        mutate(layer, rng, (kind > 5) * len(layer) // 3) if rng.random() < 0.7 else layer for layer in frame.layers
    ]
    if kind == 4:
        layers.insert(0, rng.bytes(int(rng.integers(0, 300))))
    height, width = (frame.height, frame.width) if kind > 5 else rng.choice([1, 60, 65535], 2).tolist()
    return write_frame(replace(frame, height=height, width=width, layers=layers))
