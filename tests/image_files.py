"""Image files made byte for byte, so that tests need not trust a library to write what they read."""

import itertools
import struct
import zlib

import numpy as np

BASELINE, DEFLATE = 1, 8
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK = 0, 1, 2, 3, 5
ASSOCIATED, UNASSOCIATED = 1, 2


def packed(rows: np.ndarray, bits: int, order: str) -> bytes:
    """Pack rows (H, N) of samples; each row is padded to whole bytes, and the first sample has the highest bits."""
    if bits in (8, 16, 32, 64):
        return rows.astype(rows.dtype.newbyteorder("<" if order == "II" else ">")).tobytes()
    places = np.arange(bits - 1, -1, -1)
    digits = (rows[..., None].astype(np.uint32) >> places) & 1
    return np.packbits(digits.reshape(len(rows), -1).astype(np.uint8), axis=1).tobytes()


def tiff(
    samples: np.ndarray,
    bits: int,
    photometric: int,
    *,
    order: str = "II",
    planar: bool = False,
    layout: str = "strip",
    extras: tuple[int, ...] = (),
    compression: int = BASELINE,
    tags: dict[int, tuple[str, list[int] | bytes]] | None = None,
) -> bytes:
    """Make a TIFF file.

    Args:
        samples: (H, W, C) unsigned integers or floats.
        bits: Bits per sample.
        photometric: Kind of colours (tag 262).
        order: Byte order, "II" (little endian) or "MM" (big endian).
        planar: True to store the channels one after the other instead of interleaved.
        layout: "strip" (one), "strips" (of two rows) or "tiles" (of 16 x 16).
        extras: Kinds of the samples behind the colours (tag 338).
        compression: BASELINE (none) or DEFLATE.
        tags: Further tags, or others of the same number: type ("H", "I" or "B") and values.
    """
    height, width, channels = samples.shape
    sign = "<" if order == "II" else ">"
    planes = [samples[..., index : index + 1] for index in range(channels)] if planar else [samples]
    pieces = []
    for plane in planes:
        if layout == "tiles":
            padded = np.pad(plane, ((0, -height % 16), (0, -width % 16), (0, 0)))
            for top, left in itertools.product(range(0, height, 16), range(0, width, 16)):
                pieces.append(padded[top : top + 16, left : left + 16])
        else:
            step = height if layout == "strip" else 2
            pieces += [plane[top : top + step] for top in range(0, height, step)]
    data = [packed(piece.reshape(len(piece), -1), bits, order) for piece in pieces]
    data = [zlib.compress(each) for each in data] if compression == DEFLATE else data
    offsets = list(itertools.accumulate([8] + [len(each) + len(each) % 2 for each in data]))
    entries = {
        256: ("I", [width]),
        257: ("I", [height]),
        258: ("H", [bits] * channels),
        259: ("H", [compression]),
        262: ("H", [photometric]),
        277: ("H", [channels]),
        284: ("H", [2 if planar else 1]),
        339: ("H", [3 if samples.dtype.kind == "f" else 1] * channels),
    }
    if extras:
        entries[338] = ("H", list(extras))
    if layout == "tiles":
        entries |= {322: ("I", [16]), 323: ("I", [16]), 324: ("I", offsets[:-1]), 325: ("I", [*map(len, data)])}
    else:
        rows = height if layout == "strip" else 2
        entries |= {273: ("I", offsets[:-1]), 278: ("I", [rows]), 279: ("I", [*map(len, data)])}
    entries |= tags or {}
    body = b"".join(each + b"\0" * (len(each) % 2) for each in data)
    start = offsets[-1]
    tail = b""
    directory = struct.pack(f"{sign}H", len(entries))
    for tag, (kind, values) in sorted(entries.items()):
        content = bytes(values) if kind == "B" else struct.pack(f"{sign}{len(values)}{kind}", *values)
        if len(content) > 4:
            place = start + 2 + 12 * len(entries) + 4 + len(tail)
            tail += content + b"\0" * (len(content) % 2)
            content = struct.pack(f"{sign}I", place)
        number = {"B": 7, "H": 3, "I": 4}[kind]
        directory += struct.pack(f"{sign}HHI", tag, number, len(values)) + content.ljust(4, b"\0")
    head = order.encode() + struct.pack(f"{sign}HI", 42, start)
    return head + body + directory + struct.pack(f"{sign}I", 0) + tail


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def icc_chunk(profile: bytes) -> bytes:
    """Make the chunk of a PNG file that holds an ICC profile."""
    return chunk(b"iCCP", b"p\0\0" + zlib.compress(profile))


def png(width: int, height: int, depth: int, color: int, rows: bytes, extra: bytes = b"", interlace: int = 0) -> bytes:
    """Make a PNG file of rows that begin with their filter."""
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, interlace)
    pixels = chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + pixels + chunk(b"IEND", b"")


def png_of(samples: np.ndarray, depth: int, color: int, extra: bytes = b"", interlace: bool = False) -> bytes:
    """Make a PNG file of (H, W, C) unsigned integers."""
    passes = [(0, 0, 1, 1)]
    if interlace:  # Adam7: first row and column, steps
        passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    rows = b""
    for top, left, down, right in passes:
        part = samples[top::down, left::right]
        if part.size:
            rows += b"".join(b"\0" + packed(row.reshape(1, -1), depth, "MM") for row in part)
    return png(samples.shape[1], samples.shape[0], depth, color, rows, extra, int(interlace))


def pad_rows(rows: np.ndarray) -> bytes:
    """Pad each row (H, bytes) to four bytes, as BMP has them."""
    return np.pad(rows, ((0, 0), (0, -rows.shape[1] % 4))).tobytes()


def bmp(rows: bytes, width: int, height: int, bits: int, palette: bytes = b"", masks: tuple[int, ...] = ()) -> bytes:
    """Make a BMP file of rows from the bottom up, each padded to four bytes; masks of R, G, B and A are bit fields."""
    size = 108 if masks else 40
    header = struct.pack("<IiiHHIIiiII", size, width, height, 1, bits, 3 if masks else 0, len(rows), 2835, 2835, 0, 0)
    header += struct.pack("<4I", *masks, *[0] * (4 - len(masks))) + b"BGRs" + bytes(48) if masks else b""
    offset = 14 + len(header) + len(palette)
    return b"BM" + struct.pack("<IHHI", offset + len(rows), 0, 0, offset) + header + palette + rows


def cmyk_profile(corners: np.ndarray) -> bytes:
    """Make an ICC profile (version 2, lut8) with these CIELab colours at the 16 corners of C, M, Y, K, K fastest."""
    lab = np.stack([corners[:, 0] * 2.55, corners[:, 1] + 128, corners[:, 2] + 128], axis=1)
    ramp = bytes(range(256))
    identity = struct.pack(">9i", *(65536 if index % 4 == 0 else 0 for index in range(9)))
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + identity + 4 * ramp + np.rint(lab).astype(np.uint8).tobytes()
    table += 3 * ramp
    white = b"XYZ " + bytes(4) + struct.pack(">3i", 63190, 65536, 54061)
    tags = [(b"A2B0", table), (b"wtpt", white)]
    offset, entries, body = 128 + 4 + 12 * len(tags), b"", b""
    for name, content in tags:
        entries += name + struct.pack(">II", offset + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    head = struct.pack(">I4sI4s4s4s", offset + len(body), b"test", 0x02400000, b"prtr", b"CMYK", b"Lab ")
    head += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + entries + body
