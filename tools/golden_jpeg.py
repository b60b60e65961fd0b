#!/usr/bin/env python3
"""Makes tests/golden/jpeg: a small photograph-like picture in the kinds of JPEG there are, and what OpenCV reads of it.

    python tools/golden_jpeg.py tests/golden/jpeg

Needs Pillow, numpy and OpenCV (whose decoder is libjpeg-turbo).
"""

import pathlib
import sys

import cv2
import numpy as np
from PIL import Image

folder = pathlib.Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
rng = np.random.default_rng(7)


def picture(width, height):
    """Gradients, edges of strong colour, and grain: what chroma subsampling and rounding show on."""
    y, x = np.mgrid[0:height, 0:width]
    rgb = np.stack([x * 255 / width, y * 255 / height, 128 + 100 * np.sin((x + y) / 5)], -1)
    rgb[height // 4 : height // 2, width // 3 : width // 2] = [250, 20, 40]
    rgb[height // 2 :, : width // 4] = [10, 30, 240]
    return np.clip(rgb + rng.normal(0, 8, rgb.shape), 0, 255).astype(np.uint8)


kinds = {
    "420": dict(subsampling="4:2:0"),
    "422": dict(subsampling="4:2:2"),
    "444": dict(subsampling="4:4:4"),
    "progressive": dict(subsampling="4:2:0", progressive=True),
    "low_quality": dict(subsampling="4:2:0", quality=30),
    "restarts": dict(subsampling="4:2:0", restart_marker_blocks=2),
}
# Sides that are no multiple of a block, and one of a single pixel.
for width, height in [(61, 43), (64, 48), (17, 1)]:
    pixels = Image.fromarray(picture(width, height))
    for name, options in kinds.items():
        pixels.save(folder / f"{name}_{width}x{height}.jpg", **{"quality": 92, **options})
    pixels.convert("L").save(folder / f"grey_{width}x{height}.jpg", quality=92)
Image.fromarray(picture(40, 24)).convert("CMYK").save(folder / "cmyk.jpg", quality=92)
for path in sorted(folder.glob("*.jpg")):
    if path.stem != "cmyk":
        cv2.imwrite(str(path.with_suffix(".png")), cv2.imread(str(path)))
