"""Small audio files in every format the decoder knows, for tests/golden/audio, by ffmpeg.

    python tools/golden_audio.py          (needs ffmpeg with libmp3lame and libvorbis)

Each holds the same half second of stereo at 44.1 kHz: left 440 Hz at 0.5, right 440 Hz at 0.25.
"""

import subprocess
from pathlib import Path

OUT = Path(__file__).resolve().parent.parent / "tests" / "golden" / "audio"
TONE = "aevalsrc=0.5*sin(2*PI*440*t)|0.25*sin(2*PI*440*t):s=44100:d=0.5"
FILES = {
    "tone_s16.wav": ["-c:a", "pcm_s16le"],
    "tone_f32.wav": ["-c:a", "pcm_f32le"],
    "tone.flac": ["-c:a", "flac"],
    "tone.mp3": ["-c:a", "libmp3lame", "-b:a", "96k"],
    "tone.ogg": ["-c:a", "libvorbis", "-q:a", "4"],
    "tone.m4a": ["-c:a", "aac", "-b:a", "96k", "-movflags", "+faststart"],
}


def main() -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    for name, codec in FILES.items():
        command = ["ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i", TONE, "-bitexact", *codec, str(OUT / name)]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
