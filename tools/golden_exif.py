#!/usr/bin/env python3
"""Makes tests/golden/exif: a picture in each of the eight EXIF orientations, and what OpenCV reads of it.

    python tools/golden_exif.py tests/golden/exif

Needs Pillow, numpy and OpenCV.
"""

import pathlib
import sys

import cv2
import numpy as np
from PIL import Image

folder = pathlib.Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
# Blocks of one grey each: a JPEG keeps them, and no two turns look alike.
blocks = np.array([[10, 60, 110], [160, 210, 250]], np.uint8)
picture = Image.fromarray(np.repeat(np.kron(blocks, np.ones((16, 16), np.uint8))[..., None], 3, 2))
for turn in range(1, 9):
    exif = Image.Exif()
    exif[0x0112] = turn
    for ending in ("png", "jpg"):
        path = folder / f"{turn}.{ending}"
        picture.save(path, exif=exif)
        cv2.imwrite(str(folder / f"{turn}_{ending}_upright.png"), cv2.imread(str(path)))
