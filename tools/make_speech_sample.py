#!/usr/bin/env python3
"""Makes the speech sample that is built into the binary: src/demo/assets/speech.flac.

    python tools/make_speech_sample.py

espeak-ng says two sentences with a pause between them; 16 kHz mono FLAC, peak at -3 dBFS. Needs espeak-ng, numpy and
soundfile. The same espeak-ng (1.51) gives the same file, bit for bit.
"""

import io
import pathlib
import subprocess

import numpy as np
import soundfile

RATE_HZ = 16_000
OUT = pathlib.Path(__file__).parent.parent / "src/demo/assets/speech.flac"
SENTENCES = [
    "Hello! Everything you see here was drawn, and a trained network moves my mouth.",
    "Send me any speech, and I will say it for you.",
]
PAUSE_SECONDS = 0.9
EDGE_SECONDS = 0.3
PEAK = 10 ** (-3 / 20)


def say(text):
    wav = subprocess.run(
        ["espeak-ng", "-v", "en-us+m3", "-s", "165", "-p", "42", "--stdout", text],
        check=True,
        stdout=subprocess.PIPE,
    ).stdout
    samples, rate = soundfile.read(io.BytesIO(wav), dtype="float64")
    # espeak-ng speaks at 22.05 kHz; band-limited resampling by the spectrum is exact for a clip that starts and ends
    # in silence.
    count = round(len(samples) * RATE_HZ / rate)
    spectrum = np.fft.rfft(samples)[: count // 2 + 1]
    return np.fft.irfft(spectrum, count) * (count / len(samples))


def silence(seconds):
    return np.zeros(round(seconds * RATE_HZ))


def main():
    first, second = (say(sentence) for sentence in SENTENCES)
    speech = np.concatenate(
        [silence(EDGE_SECONDS), first, silence(PAUSE_SECONDS), second, silence(EDGE_SECONDS)]
    )
    speech *= PEAK / np.abs(speech).max()
    OUT.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(OUT, speech, RATE_HZ, subtype="PCM_16")
    print(f"{OUT}: {len(speech) / RATE_HZ:.2f} s, {OUT.stat().st_size} bytes")


if __name__ == "__main__":
    main()
