#!/usr/bin/env python3
"""Writes tests/golden/pixels/: what OpenCV makes of the compositor's and the visual tensor's resizes.

Needs `pip install numpy opencv-python-headless`. The pictures are a formula of integers, so that the tests make
the same ones (src/compositor/tests.rs). To keep the files small, only some rows of each result are stored.
"""

import json
import pathlib

import cv2
import numpy as np

OUT = pathlib.Path(__file__).resolve().parent.parent / "tests" / "golden" / "pixels"


def samples(seed, width, height):
    """[height, width, 3] of integers in 0..=65535: three quarters smooth waves, one quarter noise."""
    y, x, c = np.meshgrid(np.arange(height), np.arange(width), np.arange(3), indexing="ij")
    y, x, c = (a.astype(np.uint32) for a in (y, x, c))
    wave = (x * (700 + 90 * c) + y * (500 + 70 * c) + seed * 9973) % 131072
    wave = np.where(wave > 65535, 131071 - wave, wave)
    h = x * np.uint32(2654435761) ^ y * np.uint32(2246822519) ^ (c + np.uint32(3 * seed + 1)) * np.uint32(3266489917)
    h = (h ^ (h >> 15)) * np.uint32(2654435769)
    noise = (h ^ (h >> 13)) & 0xFFFF
    return ((3 * wave + noise) >> 2).astype(np.uint32)


def picture(seed, width, height):
    """A background, RGB8."""
    return (samples(seed, width, height) >> 8).astype(np.uint8)


def prediction(seed):
    """A network output, f32 [320, 320, 3], in BGR order as the network gives it."""
    return samples(seed, 320, 320).astype(np.float32) / np.float32(65535)


def visual(frame, rect):
    x1, y1, x2, y2 = rect
    bgr = frame[y1:y2, x1:x2, ::-1]
    return cv2.resize(np.ascontiguousarray(bgr), (328, 328), interpolation=cv2.INTER_CUBIC)


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    cases = []

    def case(kind, size, rect, seed, result):
        height = result.shape[0]
        rows = sorted({0, 1, 2, height // 2, height - 2, height - 1, *range(5, height, 23)} & set(range(height)))
        name = f"{len(cases):02}_{kind}.bin"
        (OUT / name).write_bytes(np.ascontiguousarray(result[rows]).tobytes())
        cases.append({"kind": kind, "frame": size, "rect": rect, "seed": seed, "rows": rows, "file": name})

    for seed, (size, rect) in enumerate([
        ((400, 300), (100, 60, 282, 242)),  # the usual upscaling
        ((400, 400), (0, 0, 328, 328)),  # the same size, touching two edges
        ((700, 500), (0, 0, 700, 500)),  # larger than the crop, the whole frame
        ((200, 300), (61, 17, 200, 300)),  # odd aspect, touching the far edges
        ((64, 64), (63, 63, 64, 64)),  # one pixel
        ((64, 64), (10, 20, 12, 23)),  # fewer pixels than taps
    ]):
        result = visual(picture(seed, *size), rect)
        case("visual", size, rect, seed, result[..., ::-1])

    for seed, (size, rect) in enumerate([
        ((400, 300), (100, 60, 282, 242)),
        ((400, 400), (40, 30, 360, 350)),
        ((700, 500), (0, 0, 700, 500)),
        ((200, 300), (61, 17, 200, 300)),
        ((64, 64), (10, 20, 12, 23)),
        ((64, 64), (0, 63, 1, 64)),
    ], start=20):
        x1, y1, x2, y2 = rect
        crop = visual(picture(seed, *size), rect)
        painted = (prediction(seed + 100) * 255).astype(np.uint8)
        crop[4:324, 4:324] = painted
        inset = cv2.resize(crop, (x2 - x1, y2 - y1), interpolation=cv2.INTER_CUBIC)
        case("inset", size, rect, seed, inset[..., ::-1])
        stretch = cv2.resize(painted.astype(np.float32), (x2 - x1, y2 - y1), interpolation=cv2.INTER_LINEAR)
        case("stretch", size, rect, seed, np.rint(stretch).astype(np.uint8)[..., ::-1])

    lines = ",\n ".join(json.dumps(c) for c in cases)
    (OUT / "cases.json").write_text(f'{{"opencv": "{cv2.__version__}", "cases": [\n {lines}\n]}}\n')


if __name__ == "__main__":
    main()
