"""Golden mel spectrograms for tests/golden/mel, by librosa.

    pip install librosa==0.11.0
    python tools/golden_mel.py

Each NAME.npy is f32 mono at 16 kHz, each NAME_mel.npy its mel spectrogram, f32 [frames, 80]. The formula is
SyncTalk_2D's: pre-emphasis, STFT (800/200, periodic Hann, centred, zero-padded), 80 Slaney mel bands of 55-7600 Hz,
20 log10, normalised to -4..4.
"""

from pathlib import Path

import librosa
import numpy as np
from scipy import signal

OUT = Path(__file__).resolve().parent.parent / "tests" / "golden" / "mel"
RATE = 16_000


def mel(wave: np.ndarray) -> np.ndarray:
    emphasised = signal.lfilter([1, -0.97], [1], wave)
    spectrum = np.abs(
        librosa.stft(y=emphasised, n_fft=800, hop_length=200, win_length=800, center=True, pad_mode="constant")
    )
    basis = librosa.filters.mel(sr=RATE, n_fft=800, n_mels=80, fmin=55, fmax=7600)
    decibels = 20 * np.log10(np.maximum(1e-5, basis @ spectrum)) - 20
    return np.ascontiguousarray(np.clip(8 * ((decibels + 100) / 100) - 4, -4, 4).T.astype(np.float32))


def voice(seconds: float) -> np.ndarray:
    """A buzz with three moving formants, in syllables: speech-like, and ours to publish."""
    time = np.arange(int(seconds * RATE)) / RATE
    pitch = 120 + 25 * np.sin(2 * np.pi * 1.3 * time)
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    buzz = sum(np.sin(k * phase) / k for k in range(1, 40))
    out = np.zeros_like(buzz)
    for centre, swing, width in ((500, 200, 80), (1500, 500, 120), (2600, 300, 160)):
        for start in range(0, len(time), 400):
            hz = centre + swing * np.sin(2 * np.pi * 2.1 * time[start])
            b, a = signal.iirpeak(hz, hz / width, fs=RATE)
            piece = slice(max(0, start - 400), start + 400)
            filtered = signal.lfilter(b, a, buzz[piece])
            out[start : start + 400] += filtered[start - piece.start :]
    syllables = np.clip(np.sin(2 * np.pi * 3.5 * time) * 2, 0, 1)
    return 0.5 * out * syllables / np.abs(out).max()


def main() -> None:
    rng = np.random.default_rng(7)
    time = np.arange(6_000) / RATE
    waves = {
        "voice": voice(1.0),
        # A loud tone that stops: bands far from it and the silence after it reach the floor.
        "tone_beside_silence": np.where(time < 0.2, 0.99 * np.sin(2 * np.pi * 440 * time), 0.0),
        "noise_odd_length": rng.uniform(-1, 1, 4_999),
        "one_sample": np.array([0.5]),
    }
    OUT.mkdir(parents=True, exist_ok=True)
    for name, wave in waves.items():
        wave = wave.astype(np.float32)
        np.save(OUT / f"{name}.npy", wave)
        np.save(OUT / f"{name}_mel.npy", mel(wave))
        print(name, len(wave), "samples", mel(wave).shape)


if __name__ == "__main__":
    main()
