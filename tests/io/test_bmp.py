"""Tests of BMP files, by pixels computed here."""

import numpy as np
from image_files import bmp, packed, pad_rows
from load_checks import assert_loads, composited, save_bytes
from picture_files import HEIGHT, WIDTH, samples


def test_bmp_pixels_are_exact(tmp_path):
    for bits in (1, 4, 8):
        values = samples(bits, 1)
        palette = np.pad(samples(8, 3).reshape(-1, 3)[: 2**bits], ((0, 0), (0, 1)))
        rows = np.frombuffer(packed(values[::-1, :, 0], bits, "MM"), np.uint8).reshape(HEIGHT, -1)
        path = save_bytes(tmp_path, "p.bmp", bmp(pad_rows(rows), WIDTH, HEIGHT, bits, palette.tobytes()))
        assert_loads(path, composited(palette[values[..., 0], 2::-1] / 255))
    for sizes, masks in [((5, 5, 5), (0x7C00, 0x3E0, 0x1F)), ((5, 6, 5), (0xF800, 0x7E0, 0x1F))]:
        channels = [samples(size, 1, seed=index)[..., 0] for index, size in enumerate(sizes)]
        words = channels[0].astype("<u2") << (sizes[1] + 5) | channels[1].astype("<u2") << 5 | channels[2]
        rows = np.ascontiguousarray(words[::-1].astype("<u2")).view(np.uint8)
        path = save_bytes(tmp_path, "w.bmp", bmp(pad_rows(rows), WIDTH, HEIGHT, 16, masks=masks))
        colors = np.stack([each / (2**size - 1) for each, size in zip(channels, sizes, strict=True)], axis=2)
        assert_loads(path, composited(colors), 1 / 255)
    values = samples(8, 4)
    path = save_bytes(tmp_path, "c.bmp", bmp(pad_rows(values[::-1, :, 2::-1].reshape(HEIGHT, -1)), WIDTH, HEIGHT, 24))
    assert_loads(path, composited(values[..., :3] / 255))
    data = values[::-1, :, [2, 1, 0, 3]].tobytes()
    path = save_bytes(tmp_path, "a.bmp", bmp(data, WIDTH, HEIGHT, 32, masks=(0xFF0000, 0xFF00, 0xFF, 0xFF000000)))
    assert_loads(path, composited(values[..., :3] / 255, values[..., 3] / 255))
