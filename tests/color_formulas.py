"""Formulas of colour standards, written apart from the library that the tests compare with them."""

import imagecodecs
import numpy as np

D65 = (0.3127, 0.3290)
SRGB = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
P3 = ((0.68, 0.32), (0.265, 0.69), (0.15, 0.06))
BT2020 = ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046))


def encode(light, transfer):
    """Encode linear light by the formulas that the documentation states."""
    if transfer == "srgb":
        return light
    if transfer == "log":
        return np.log2(1 + 1024 * light) / np.log2(1 + 1024 * 65504)
    power = (light * 203 / 10000) ** (1305 / 8192)
    return ((107 / 128 + 2413 / 128 * power) / (1 + 2392 / 128 * power)) ** (2523 / 32)


def decode_pq(values):
    root = values ** (32 / 2523)
    return (np.maximum(root - 107 / 128, 0) / (2413 / 128 - 2392 / 128 * root)) ** (8192 / 1305) * 10000 / 203


def decode_hlg(values):
    """Return the light of HLG on a screen of 1000 cd/m2, with the primaries of BT.2020 (ITU-R BT.2100)."""
    scene = np.where(values <= 0.5, values**2 / 3, (np.exp((values - 0.55991073) / 0.17883277) + 0.28466892) / 12)
    luminance = 0.2627 * scene[..., :1] + 0.6780 * scene[..., 1:2] + 0.0593 * scene[..., 2:]
    return 1000 / 203 * luminance**0.2 * scene


def to_xyz(primaries):
    """Return the matrix from linear R, G, B of these primaries, with white at D65, to X, Y, Z."""
    columns = np.array([(x / y, 1, (1 - x - y) / y) for x, y in primaries]).T
    return columns * np.linalg.solve(columns, np.array([D65[0] / D65[1], 1, (1 - sum(D65)) / D65[1]]))


def change_primaries(linear, primaries):
    return (linear @ (np.linalg.inv(to_xyz(SRGB)) @ to_xyz(primaries)).T).clip(0)


def curve(linear):
    """Return the sRGB curve of linear light."""
    linear = linear.clip(0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def uncurve(values):
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def in_srgb(colors, primaries, gamma):
    """Convert colours of these primaries and this gamma to sRGB; those outside its gamut are clipped."""
    return curve(change_primaries(colors**gamma, primaries))


def lab_to_srgb(lab):
    """Convert Lab of white D50 by the formulas of CIE and the Bradford matrix as published by Lindbloom."""
    middle = (lab[..., 0] + 16) / 116
    cubes = np.stack([middle + lab[..., 1] / 500, middle, middle - lab[..., 2] / 200], axis=2)
    xyz = np.where(cubes > 6 / 29, cubes**3, 3 * (6 / 29) ** 2 * (cubes - 4 / 29)) * (0.96422, 1, 0.82521)
    matrix = [
        [3.1338561, -1.6168667, -0.4906146],
        [-0.9787684, 1.9161415, 0.0334540],
        [0.0719453, -0.2289914, 1.4052427],
    ]
    return curve(xyz @ np.array(matrix).T)


def profile_of(primaries, gamma):
    flat = sum(((*place, 1.0) for place in primaries), ())
    return imagecodecs.cms_profile("rgb", whitepoint=(*D65, 1.0), primaries=flat, gamma=gamma)


def gray_profile(gamma):
    return imagecodecs.cms_profile("gray", whitepoint=(*D65, 1.0), gamma=gamma)
