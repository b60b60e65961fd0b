#!/usr/bin/env python3
"""Evaluates the demo avatars on held-out speech, through the real binary.

    python tools/demo/evaluate.py LIPSYNC ARTIST [--seconds 12]

LIPSYNC is the program, ARTIST the built examples/draw_demo_faces. Writes the avatars, renders speech of a voice and text
that no network was trained on, and compares every frame with the drawing of the mouth that the speech asks for:

- PSNR inside the crop rect;
- the correlation between the opening measured in the output's pixels and the one that drove the drawing: the mean height,
  over the columns in the middle of the mouth, from the first to the last pixel that is dark red as the inside or white as teeth;
- how open the mouth is in silence, by the same measure.

Exits with 1 if a goal is missed. Needs espeak-ng, librosa, OpenCV and soundfile.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import cv2
import numpy as np
import soundfile

import faces
import speech

NAMES = ["sanders", "bob", "jane"]
PSNR_DB_MIN = 30.0
CORRELATION_MIN = 0.95
# Rows of dark or white in a shut mouth: the line between the lips.
SILENCE_ROWS_MAX = 3.0


def opening_rows(rect):
    """The height of what is seen inside the mouth, in rows of the rect (RGB)."""
    side = len(rect)
    middle = rect[side // 5 : side * 3 // 5, side // 2 - side // 24 : side // 2 + side // 24].astype(int)
    red, green, blue = (middle[..., channel] for channel in range(3))
    dark_red = (green < 48) & (red < 130) & (red > 2.2 * green)
    white = (green > 160) & (red - blue < 36)
    inside = dark_red | white
    heights = []
    for column in inside.T:
        rows = np.flatnonzero(column)
        heights.append(rows[-1] - rows[0] + 1 if len(rows) else 0)
    return float(np.mean(heights))


def pose_of(frame):
    """Ping-pong over the backgrounds."""
    period = 2 * faces.POSES - 2
    place = frame % period
    return place if place < faces.POSES else period - place


def run(*command):
    subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL)


def evaluate(lipsync, artist, work, person, clip, mouth, rects):
    name, folder = NAMES[person], work / f"frames-{NAMES[person]}"
    wav = work / "speech.wav"
    soundfile.write(wav, clip, speech.RATE_HZ, subtype="PCM_16")
    run(lipsync, "-q", "--config", work / "config.yaml", "infer", "--model", name, "--audio", wav, "--out", f"{folder}/")
    pictures = sorted(folder.glob("*.png"))
    assert len(pictures) == len(mouth), f"{len(pictures)} frames, expected {len(mouth)}"
    psnr, measured = [], []
    for frame, picture in enumerate(pictures):
        x1, y1, x2, y2 = rects[pose_of(frame)]
        got = cv2.imread(str(picture))[y1:y2, x1:x2, ::-1]
        wanted = artist.rect(person, pose_of(frame), *mouth[frame])
        error = ((got.astype(float) - wanted) ** 2).mean()
        psnr.append(10 * np.log10(255**2 / max(error, 1e-9)))
        measured.append(opening_rows(got))
    psnr, measured, silent = np.array(psnr), np.array(measured), mouth[:, 0] == 0
    correlation = np.corrcoef(measured, mouth[:, 0])[0, 1]
    print(
        f"{name}: PSNR mean {psnr.mean():.2f} dB, worst {psnr.min():.2f}; opening r = {correlation:.4f};"
        f" silence: {silent.sum()} frames, {measured[silent].max():.1f} rows at most"
        f" (open: {np.percentile(measured[~silent], 95):.1f})",
        flush=True,
    )
    return psnr.mean() >= PSNR_DB_MIN and correlation >= CORRELATION_MIN and measured[silent].max() <= SILENCE_ROWS_MAX


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("lipsync")
    parser.add_argument("artist")
    parser.add_argument("--seconds", type=float, default=12)
    parser.add_argument("--work", type=pathlib.Path, help="holds models/ and config.yaml already, of an earlier demo")
    args = parser.parse_args()
    artist = faces.Artist(args.artist)
    clip = speech.held_out()[: int(args.seconds * speech.RATE_HZ)]
    mouth = speech.mouth(speech.mel(clip))
    with tempfile.TemporaryDirectory() as folder:
        work = args.work or pathlib.Path(folder)
        if not args.work:
            # Writes the avatars and a configuration for them, and a film nobody looks at.
            demo = ["demo", "--folder", work / "models", "--render", work / "talk.mp4"]
            run(args.lipsync, "-q", "--config", work / "config.yaml", *demo)
        good = True
        for person, name in enumerate(NAMES):
            rects = json.loads((work / "models" / name / "crop_rects.json").read_text())
            good &= evaluate(args.lipsync, artist, work, person, clip, mouth, rects)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
