"""What the clients' tests share: the real `lipsync serve` with small avatars, and speech whose loudness is known."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import subprocess
import tempfile
import time
import urllib.request
import wave
import zlib
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
NETWORKS = ROOT / "tests/golden/networks"
#: Longer than anything takes on a busy machine; reached only when something hangs.
PATIENCE = 60.0
SIZE = (96, 64)
RECT = (20, 10, 60, 50)
FPS = 25
#: Seconds between two bursts of `bursts`, and how long one is.
BURST_EVERY, BURST = 0.36, 0.16


def binary() -> Path:
    """The server: LIPSYNC, or what `cargo build` made."""
    path = Path(os.environ.get("LIPSYNC", ROOT / "target/debug/lipsync"))
    if not path.exists():
        raise FileNotFoundError(f"{path} is not there: run `cargo build`, or name a server in LIPSYNC")
    return path


def write_png(path: Path, pixels: np.ndarray) -> None:
    """An RGB picture."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width, _ = pixels.shape
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )


def bursts(seconds: float, rate: int) -> np.ndarray:
    """Noise that comes and goes: 16-bit samples. No two pieces of it are alike, the quiet ones included."""
    times = np.arange(int(seconds * rate)) / rate
    noise = np.random.default_rng(7).uniform(-0.4, 0.4, len(times))
    return (noise * np.where((times % BURST_EVERY) < BURST, 1, 0.01) * 32767).astype("<i2")


def loudness(pcm: bytes) -> float:
    """The mean magnitude of 16-bit samples."""
    samples = np.frombuffer(pcm, "<i2").astype(float)
    return float(np.abs(samples).mean()) if len(samples) else 0.0


#: Pictures with their sound that tell an offset.
PAIRS_ENOUGH = 40


def offset_in_frames(said: bytes, pairs: list[tuple[bytes, float]], most: int = 4) -> int:
    """By how many frames the mouths are behind the sound that they are paired with: where the two are most alike.

    Pairs are pieces of `said` and how open the mouth is. A busy server leaves frames out, so each piece is looked up.
    """
    piece = max(len(audio) for audio, _ in pairs)
    loud = np.array([loudness(said[at : at + piece]) for at in range(0, len(said) - piece + 1, piece)])
    places = np.array([said.index(audio) for audio, _ in pairs])
    assert not (places % piece).any(), "sound is cut where pictures change"
    mouths = np.array([open for _, open in pairs])

    def likeness(shift: int) -> float:
        heard_at = places // piece - shift
        inside = (heard_at >= 0) & (heard_at < len(loud))
        return float(np.corrcoef(loud[heard_at[inside]], mouths[inside])[0, 1])

    best = max(range(-most, most + 1), key=likeness)
    assert likeness(best) > 0.7, "the mouth does not follow the sound"
    return best


def write_wav(path: Path, pcm: np.ndarray, rate: int) -> Path:
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(pcm.tobytes())
    return path


class Server:
    """`lipsync serve` with the avatars `ann`, whose mouth is as bright as its speech is loud, and `bob`."""

    def __init__(
        self,
        *,
        server: str = "",
        capacity: str = "",
        models: str = "",
        backend: str = "embedded",
        size: tuple[int, int] = SIZE,
        rect: tuple[int, int, int, int] = RECT,
    ) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="lipsync-test-")
        self.path = Path(self._folder.name)
        self._server, self._capacity, self._models = server, capacity, models
        self._backend, self._size, self._rect = backend, size, rect
        self._process: subprocess.Popen[str] | None = None
        self.port = self.http = self.metrics = 0
        for name, colour in (("ann", (200, 60, 60)), ("bob", (60, 200, 60))):
            self._draw(name, colour)
        self.start()

    def _draw(self, name: str, colour: tuple[int, int, int]) -> None:
        frames = self.path / name
        frames.mkdir()
        for frame in range(3):
            pixels = np.full((self._size[1], self._size[0], 3), colour, np.uint8)
            pixels[:4, :4] = 40 * frame
            write_png(frames / f"frame_{frame:04}.png", pixels)
        (self.path / f"{name}.json").write_text(json.dumps([self._rect] * 3))

    def _configure(self) -> None:
        def indented(lines: str) -> str:
            return "".join(f"  {line}\n" for line in lines.splitlines())

        text = f"server:\n  port: 127.0.0.1:{self.port}\n  http_port: 127.0.0.1:{self.http}\n"
        text += f"  metrics_port: 127.0.0.1:{self.metrics}\n" + indented(self._server)
        text += (
            "capacity:\n  max_models: 2\n" + indented(self._capacity) + f"onnx:\n  backend: {self._backend}\nmodels:\n"
        )
        for name, kind in (("ann", "_loudness"), ("bob", "")):
            text += (
                f"  {name}:\n    model_path: '{NETWORKS}/generator{kind}.onnx'\n"
                f"    audio_encoder_path: '{NETWORKS}/audio_encoder{kind}.onnx'\n"
                f"    background_dir: {name}\n    crop_rects_path: {name}.json\n"
            )
        (self.path / "config.yaml").write_text(text + self._models)

    def start(self) -> None:
        """Starts it; after the first time, on the port it had."""
        self._configure()
        log = open(self.path / "stderr.log", "a")
        self._process = subprocess.Popen(
            [str(binary()), "serve", "--json", "--config", str(self.path / "config.yaml")],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        assert self._process.stdout is not None
        document = ""
        for line in self._process.stdout:
            document += line
            if line == "}\n":
                break
        if not document:
            raise RuntimeError(f"no start:\n{self.log()}")
        ready = json.loads(document)
        self.port, self.http, self.metrics = (
            int(ready[key].rsplit(":", 1)[1]) for key in ("grpc", "http", "metrics")
        )

    @property
    def url(self) -> str:
        return f"127.0.0.1:{self.port}"

    def log(self) -> str:
        return (self.path / "stderr.log").read_text()

    def metric(self, name: str) -> float:
        """A value of the metrics page, by its whole name."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics}/metrics") as page:
            for line in page.read().decode().splitlines():
                if line.startswith(name + " "):
                    return float(line.split()[1])
        raise KeyError(name)

    def signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """Ends it without a word."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        if self._process is not None:
            self.signal(signal.SIGTERM)
            assert self._process.wait(PATIENCE) == 0, self.log()
            self._process = None

    def close(self) -> None:
        self.kill()
        self._folder.cleanup()


def free_port() -> int:
    """A port at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def eventually(what: str, is_so) -> None:
    """Waits until `is_so()`."""
    end = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < end, f"never happened: {what}"
        time.sleep(0.02)


def mouth(image: bytes, format: str = "i420") -> float:
    """How far the mouth of `ann` is open: the brightness in the middle of its rect."""
    channels = {"i420": 1, "rgb": 3}[format]
    plane = np.frombuffer(image, np.uint8)[: SIZE[0] * SIZE[1] * channels].reshape(SIZE[1], SIZE[0], channels)
    x1, y1, x2, y2 = RECT
    return float(plane[y1 + 10 : y2 - 10, x1 + 10 : x2 - 10].mean())
