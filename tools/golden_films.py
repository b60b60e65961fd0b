#!/usr/bin/env python3
"""Makes the films of the tests, tests/golden/films/, and what ffmpeg decodes of them: needs ffmpeg with libx264.

    python tools/golden_films.py

Each NAME.mp4 that can be read has a NAME.png beside it: its pictures as ffmpeg gives them, one below the other.
"""

import pathlib
import subprocess

OUT = pathlib.Path("tests/golden/films")
SOURCE = ["-f", "lavfi", "-i", "testsrc2=size=98x66:rate=25:duration=0.48"]
X264 = ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", "18"]
BT709 = ["-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709", "-color_range", "tv"]


def ffmpeg(*arguments):
    subprocess.run(["ffmpeg", "-v", "error", "-y", "-bitexact", *arguments], check=True)


def film(name, *arguments, source=SOURCE):
    ffmpeg(*source, *arguments, str(OUT / name))


def pictures(name, frames):
    # One below the other; conversion as swscale's exact one, each sample of chroma for its four pixels.
    flags = "flags=accurate_rnd+neighbor"
    ffmpeg(
        "-i", str(OUT / f"{name}.mp4"),
        "-vf", f"scale={flags},format=rgb24,tile=1x{frames}",
        "-frames:v", "1", "-pix_fmt", "rgb24", str(OUT / f"{name}.png"),
    )  # fmt: skip


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    film("high.mp4", *X264, "-bf", "3", "-g", "6", "-vf", "scale=out_color_matrix=bt709", *BT709)
    pictures("high", 12)
    film("baseline.mp4", *X264, "-profile:v", "baseline")
    pictures("baseline", 12)
    # Begins in the middle of a group: what comes before is decoded and not shown.
    film("edited.mp4", "-c", "copy", source=["-ss", "0.16", "-i", str(OUT / "high.mp4")])
    probe = ["ffprobe", "-v", "error", "-count_frames", "-show_entries", "stream=nb_read_frames", "-of", "csv=p=0"]
    shown = subprocess.run([*probe, str(OUT / "edited.mp4")], check=True, capture_output=True, text=True)
    print(f"edited.mp4 shows {shown.stdout.strip()} pictures")
    pictures("edited", int(shown.stdout))
    film("mpeg4.mp4", "-c:v", "mpeg4")
    film("fragmented.mp4", *X264, "-movflags", "frag_keyframe+empty_moov")
    film("deep.mp4", "-c:v", "libx264", "-pix_fmt", "yuv420p10le")
    for path in sorted(OUT.iterdir()):
        print(f"{path} {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
