#!/usr/bin/env python3
"""Makes the INT8 form of an avatar's generator, says what it costs in quality and wins in speed, and installs it.

    python tools/optimize_int8.py --generator models/sanders/unet.onnx --audio-encoder models/sanders/audio_encoder.onnx \\
        --backgrounds models/sanders/frames --crop-rects models/sanders/crop_rectangles.json \\
        [--speech calibration.wav] [--held-out other.wav] [--audio-padding edge|zeros] [--frames 32]
        [--keep-f32 /up.4 --keep-f32 /out] [--dry-run] [--force]

Only Python has the quantiser, so this is a script: needs numpy, scipy, librosa, soundfile, opencv, onnx and onnxruntime.
Without speech files, espeak-ng reads two texts in two voices.

Weights are quantised per channel, activations per tensor, as QDQ pairs (QuantizeLinear, DequantizeLinear), which ONNX
Runtime fuses into integer kernels. The ranges are measured on the avatar's own frames and on speech, through the visual
tensors and windows that lipsync makes. The quality is the PSNR of the INT8 network's picture against the f32 network's,
on speech that the ranges were not measured on. Below 35 dB in the mean nothing is installed, unless --force.

Installed means: the file named by --generator is the INT8 network, and the f32 one is beside it as NAME.f32.onnx; it is
there before the swap, which is one rename. To go back: mv NAME.f32.onnx NAME.onnx.
Nothing is installed either, unless --force, when it is no faster here: that happens with few channels.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import cv2
import librosa
import numpy as np
import onnx
import onnxruntime
import soundfile
from onnxruntime import quantization
from scipy import signal

RATE = 16_000
FPS = 25
PSNR_MIN_DB = 35.0
# Two texts rich in lip shapes; the second is only listened to.
TEXTS = [
    ("en-us", "The big brown fox and five wild puppies jumped over the old bridge, while a few of us watched from the "
     "window. Please bring me two cups of warm milk, and do not forget the fresh bread. We would love to have you with "
     "us for the whole month of May, if you feel well enough to move about."),
    ("en-gb+f3", "Would you mind opening the window? My father always said that good weather makes people happy, and "
     "perhaps he was right. Bob played the piano for about five minutes, then we all walked home through the snow."),
]


def mel_spectrogram(wave):
    """[frames, 80]: the formula of tools/golden_mel.py, which lipsync is tested against."""
    emphasised = signal.lfilter([1, -0.97], [1], wave)
    spectrum = np.abs(
        librosa.stft(y=emphasised, n_fft=800, hop_length=200, win_length=800, center=True, pad_mode="constant")
    )
    basis = librosa.filters.mel(sr=RATE, n_fft=800, n_mels=80, fmin=55, fmax=7600)
    decibels = 20 * np.log10(np.maximum(1e-5, basis @ spectrum)) - 20
    return np.clip(8 * ((decibels + 100) / 100) - 4, -4, 4).T.astype(np.float32)


def speech_windows(wave, encoder, padding):
    """[frames, 32, 16, 16]: one window of the generator a video frame (src/audio/features.rs says how)."""
    mel = mel_spectrogram(wave)
    count = int((len(mel) - 16) / 80 * FPS) + 2
    starts = [min(int(80 * frame / FPS), len(mel) - 16) for frame in range(count)]
    features = [encoder.run(["emb"], {"mel": mel[start : start + 16].T[None, None]})[0][0] for start in starts]
    entries = np.stack([features[0], *features, features[-1]])
    before, after = entries[:1].repeat(8, 0), entries[-1:].repeat(8, 0)
    if padding == "zeros":
        before, after = np.zeros_like(before), np.zeros_like(after)
    padded = np.concatenate([before, entries, after])
    return np.stack([padded[frame : frame + 16] for frame in range(count)]).reshape(-1, 32, 16, 16)


def visual_tensor(picture, rect):
    """[6, 320, 320]: what the generator sees of a background, as cv2 and SyncTalk_2D make it."""
    x1, y1, x2, y2 = rect
    crop = cv2.resize(picture[y1:y2, x1:x2], (328, 328), interpolation=cv2.INTER_CUBIC)
    seen = crop[4:324, 4:324].astype(np.float32) / 255
    masked = seen.copy()
    masked[5:310, 5:315] = 0
    return np.concatenate([seen, masked], 2).transpose(2, 0, 1)


def read_rects(path):
    rects = json.loads(path.read_text())
    if isinstance(rects, dict):
        rects = [rects[str(frame)]["rect"] for frame in range(len(rects))]
    return rects


def read_backgrounds(folder, rects, count):
    """Visual tensors of `count` backgrounds spread over the avatar's."""
    tensors = []
    for frame in np.linspace(0, len(rects) - 1, min(count, len(rects)), dtype=int):
        names = [f"frame_{frame:04}.png", f"frame_{frame:04}.jpg", f"{frame}.png", f"{frame}.jpg"]
        path = next((folder / name for name in names if (folder / name).exists()), None)
        if path is None:
            sys.exit(f"error: no background {frame} in {folder}: looked for {', '.join(names)}")
        tensors.append(visual_tensor(cv2.imread(str(path)), rects[frame]))
    return tensors


def read_speech(path, which):
    """16 kHz mono of a file, or of a text read by espeak-ng."""
    if path is None:
        voice, text = TEXTS[which]
        with tempfile.NamedTemporaryFile(suffix=".wav") as file:
            try:
                subprocess.run(["espeak-ng", "-v", voice, "-w", file.name, text], check=True, capture_output=True)
            except (OSError, subprocess.CalledProcessError) as error:
                sys.exit(f"error: espeak-ng cannot read the text ({error}): install it, or give --speech and --held-out")
            wave, rate = soundfile.read(file.name)
    else:
        wave, rate = soundfile.read(path, always_2d=True)
        wave = wave.mean(1)
    return librosa.resample(wave, orig_sr=rate, target_sr=RATE) if rate != RATE else wave


def pair(backgrounds, windows, count):
    """`count` frames: windows spread over the speech, each with a background of its own."""
    chosen = np.linspace(0, len(windows) - 1, min(count, len(windows)), dtype=int)
    return [
        {"input": backgrounds[i % len(backgrounds)][None], "audio": windows[window][None]}
        for i, window in enumerate(chosen)
    ]


class Frames(quantization.CalibrationDataReader):
    def __init__(self, frames):
        self.frames = iter(frames)

    def get_next(self):
        return next(self.frames, None)


def session(path, threads):
    """As lipsync opens it."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def has_integer_dot_product():
    """Whether the CPU multiplies bytes without saturating (VNNI on x86, dot product on Arm)."""
    try:
        flags = pathlib.Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return any(flag in flags for flag in ("avx512_vnni", "avx_vnni", "asimddp"))


def quantise(source, target, frames, reduce_range, keep_f32):
    # Folded and with shapes, so that a range is measured for every tensor that is left.
    with tempfile.TemporaryDirectory() as folder:
        prepared = pathlib.Path(folder) / "prepared.onnx"
        quantization.quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        quantization.quantize_static(
            str(prepared),
            str(target),
            Frames(frames),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            nodes_to_exclude=kept_nodes(prepared, keep_f32),
            reduce_range=reduce_range,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        )


def kept_nodes(path, prefixes):
    """The nodes whose names begin with one of the prefixes."""
    names = [node.name for node in onnx.load(path).graph.node]
    for prefix in prefixes:
        if not any(name.startswith(prefix) for name in names):
            sys.exit(f"error: --keep-f32 {prefix}: no node's name begins so; the first is {names[0]}")
    return [name for name in names if name.startswith(tuple(prefixes))] if prefixes else []


def quality(f32, int8, frames):
    """PSNR in dB of each frame, of the pixels a viewer gets: 8 bits, truncated."""
    def pixels(network, frame):
        return np.floor(np.clip(network.run(["output"], frame)[0], 0, 1) * 255)

    values = []
    for frame in frames:
        error = np.mean((pixels(f32, frame) - pixels(int8, frame)) ** 2)
        values.append(10 * np.log10(255**2 / max(error, 1e-3)))
    return values


def speed(networks, frame, rounds):
    """Median seconds of each network. Every round runs each once, so that they meet the same neighbours."""
    times = {name: [] for name in networks}
    for _ in range(rounds):
        for name, network in networks.items():
            started = time.perf_counter()
            network.run(["output"], frame)
            times[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in times.items()}


def install(generator, int8):
    """`int8` lies in the same folder. At every moment there is a whole network under the generator's name."""
    kept = generator.with_suffix(".f32.onnx")
    os.link(generator, kept)
    with open(int8, "rb") as file:
        os.fsync(file.fileno())
    os.replace(int8, generator)
    return kept


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--generator", type=pathlib.Path, required=True)
    parser.add_argument("--audio-encoder", type=pathlib.Path, required=True)
    parser.add_argument("--backgrounds", type=pathlib.Path, required=True)
    parser.add_argument("--crop-rects", type=pathlib.Path, required=True)
    parser.add_argument("--speech", type=pathlib.Path, help="what the ranges are measured on")
    parser.add_argument("--held-out", type=pathlib.Path, help="what the quality is measured on")
    parser.add_argument("--audio-padding", choices=["edge", "zeros"], default="edge")
    parser.add_argument("--frames", type=int, default=32, help="frames to measure ranges on, and as many for the quality")
    parser.add_argument(
        "--keep-f32", action="append", default=[], metavar="PREFIX",
        help="leave nodes whose names begin so as they are, for quality; may be repeated",
    )
    parser.add_argument("--rounds", type=int, default=15, help="rounds of the speed measurement")
    parser.add_argument("--dry-run", action="store_true", help="say what it would give, install nothing")
    parser.add_argument("--force", action="store_true", help=f"install below {PSNR_MIN_DB:.0f} dB too")
    args = parser.parse_args()
    if any(node.op_type == "QuantizeLinear" for node in onnx.load(args.generator).graph.node):
        sys.exit(f"error: {args.generator} is an INT8 network already; its f32 form is needed")
    kept = args.generator.with_suffix(".f32.onnx")
    if kept.exists() and not args.dry_run:
        sys.exit(f"error: {kept} is in the way, the f32 network would go there: move it or delete it")

    encoder = session(args.audio_encoder, 1)
    backgrounds = read_backgrounds(args.backgrounds, read_rects(args.crop_rects), args.frames)
    calibration, held_out = (
        pair(backgrounds, speech_windows(read_speech(path, which), encoder, args.audio_padding), args.frames)
        for which, path in enumerate([args.speech, args.held_out])
    )
    reduce_range = not has_integer_dot_product()
    print(f"{len(backgrounds)} backgrounds, {len(calibration)} frames to measure ranges on, {len(held_out)} held out")
    if reduce_range:
        print("this CPU adds products of bytes in 16 bits, which overflow: weights get 7 bits")

    handle, int8 = tempfile.mkstemp(suffix=".onnx", dir=args.generator.parent)
    os.close(handle)
    int8 = pathlib.Path(int8)
    try:
        quantise(args.generator, int8, calibration, reduce_range, args.keep_f32)
        size = [path.stat().st_size / 1e6 for path in (args.generator, int8)]
        print(f"size {size[0]:.1f} -> {size[1]:.1f} MB")
        gain = 0.0
        for threads in sorted({1, os.cpu_count() or 1}):
            networks = {"f32": session(args.generator, threads), "int8": session(int8, threads)}
            times = speed(networks, held_out[0], args.rounds)
            ratio = times["f32"] / times["int8"]
            gain = max(gain, ratio)
            print(f"{threads} threads: {times['f32'] * 1e3:.1f} -> {times['int8'] * 1e3:.1f} ms a frame, {ratio:.2f} times")
        values = quality(networks["f32"], networks["int8"], held_out)
        mean = statistics.mean(values)
        print(f"PSNR against f32 on held-out speech: mean {mean:.1f} dB, worst frame {min(values):.1f} dB")
        if args.dry_run:
            return
        for failed, reason in [(mean < PSNR_MIN_DB, f"below {PSNR_MIN_DB:.0f} dB"), (gain <= 1, "no faster here")]:
            if failed and not args.force:
                sys.exit(f"error: {reason}, not installed (--force installs it all the same)")
        os.chmod(int8, args.generator.stat().st_mode)
        kept = install(args.generator, int8)
        print(f"installed as {args.generator}; the f32 network is {kept}. A running server takes it with: lipsync models load --force")
    finally:
        int8.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
