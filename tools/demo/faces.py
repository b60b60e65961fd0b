"""Drawn faces for training: what the generator sees and what it is to paint, from the project's own drawing code."""

import hashlib
import pathlib
import subprocess

import cv2
import numpy as np

PEOPLE = 3
POSES = 100
CROP, MARGIN, ROI = 328, 4, 320
SHUT = (0.0, 0.5)


class Artist:
    """Talks to `examples/draw_demo_faces.rs`: a line "person pose opening width" in, the pixels of the rect out."""

    def __init__(self, binary):
        self.process = subprocess.Popen([binary, "serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def rect(self, person, pose, opening, width):
        self.process.stdin.write(f"{person} {pose} {opening} {width}\n".encode())
        self.process.stdin.flush()
        side = int.from_bytes(self.process.stdout.read(4), "little")
        pixels = self.process.stdout.read(3 * side * side)
        return np.frombuffer(pixels, np.uint8).reshape(side, side, 3)

    def roi(self, person, pose, opening, width):
        """The region the generator sees and paints, [320, 320, 3] RGB."""
        crop = cv2.resize(self.rect(person, pose, opening, width), (CROP, CROP), interpolation=cv2.INTER_CUBIC)
        return crop[MARGIN : MARGIN + ROI, MARGIN : MARGIN + ROI]


def dataset(binary, folder, mouths, per_pose, seed):
    """(shut [300, ...], faces [n, ...], about [n, 4]): every pose shut, and with mouths drawn from those of speech."""
    key = hashlib.sha256(pathlib.Path(binary).read_bytes() + repr((per_pose, seed)).encode()).hexdigest()[:12]
    paths = [pathlib.Path(folder) / f"faces-{key}-{name}.npy" for name in ("shut", "faces", "about")]
    if not paths[-1].exists():
        rng = np.random.default_rng(seed)
        artist = Artist(binary)
        poses = [(person, pose) for person in range(PEOPLE) for pose in range(POSES)]
        shut = np.stack([artist.roi(*place, *SHUT) for place in poses])
        # Half from speech as it is, half evenly over the opening, so that wide mouths are not rare.
        order = mouths[np.argsort(mouths[:, 0])]
        about = []
        for place in poses:
            for turn in range(per_pose):
                if turn % 2:
                    mouth = mouths[rng.integers(len(mouths))]
                else:
                    near = np.searchsorted(order[:, 0], rng.uniform(0, 1))
                    mouth = order[np.clip(near + rng.integers(-20, 20), 0, len(order) - 1)]
                about.append((*place, *mouth))
        about = np.array(about, np.float32)
        faces = np.stack([artist.roi(int(p), int(i), o, w) for p, i, o, w in about])
        for path, array in zip(paths, (shut, faces, about), strict=True):
            np.save(path, array)
    return [np.load(path) for path in paths]
