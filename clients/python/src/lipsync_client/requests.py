"""What both clients share: addresses, metadata, requests, and when to try again."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Union
from urllib.parse import urlsplit

import grpc
import numpy as np
import numpy.typing as npt

from .errors import BusyError, LipsyncError, UnavailableError
from .messages import Batch, Format, rgb_array
from .pb import lipsync_pb2 as pb

Tls = Union[bool, str, Path, grpc.ChannelCredentials, None]

BATCH_METHOD = "/lipsync.MultiTenantLipSync/InferBatchComposite"
PORT = 50053
#: Floats of one speech window, and of one visual tensor.
WINDOW_LEN = 32 * 16 * 16
VISUAL_LEN = 6 * 320 * 320
CHANNEL_OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # Pictures in few pieces.
    ("grpc.http2.max_frame_size", 1 << 20),
    # A server that is gone without a word is found.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # A server that restarts is found within a second.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 1_000),
]


@dataclass(frozen=True)
class Address:
    """Where a server is, and how to speak to it."""

    target: str
    credentials: grpc.ChannelCredentials | None

    @classmethod
    def of(cls, url: str, tls: Tls) -> Address:
        """`host:port`, `http://host:port` or `https://host:port`; `tls` is True, or a file of certificates to trust."""
        parts = urlsplit(url if "://" in url else f"//{url}")
        if parts.scheme not in ("", "http", "https") or not parts.hostname or parts.path.strip("/"):
            raise ValueError(f"{url!r} is no address of a server: use host:port, http://host:port or https://host:port")
        if parts.scheme == "http" and tls:
            raise ValueError(f"{url!r} is without TLS, and tls is set: use https://")
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        secure = tls or (tls is None and parts.scheme == "https")
        port = parts.port or (443 if parts.scheme == "https" else PORT)
        return cls(f"{host}:{port}", cls._credentials(tls) if secure else None)

    @staticmethod
    def _credentials(tls: Tls) -> grpc.ChannelCredentials:
        if isinstance(tls, (str, Path)):
            return grpc.ssl_channel_credentials(Path(tls).read_bytes())
        return tls if isinstance(tls, grpc.ChannelCredentials) else grpc.ssl_channel_credentials()


def metadata(token: str | None, tenant: str | None, model: str | None = None) -> list[tuple[str, str]]:
    """What every call carries: errors as statuses, who calls, and the model for load balancers."""
    pairs = [("lipsync-errors", "status")]
    if token:
        pairs.append(("authorization", f"Bearer {token}"))
    if tenant:
        pairs.append(("x-tenant", tenant))
    if model:
        pairs.append(("x-model-id", model))
    return pairs


@dataclass(frozen=True)
class Retries:
    """When a call that may be repeated is: after a lost connection, or when the server says after what time.

    The pauses double from `first` to `longest` seconds; each is drawn at random up to that, so that the clients of a
    server that restarts do not come back all at once.
    """

    attempts: int = 4
    first: float = 0.2
    longest: float = 5.0
    #: A busy server that asks for a longer wait than this is an error at once.
    busy_longest: float = 5.0

    def pause(self, error: LipsyncError, attempt: int) -> float | None:
        """Seconds to wait before the next attempt; None to give up. Attempts count from 0."""
        if attempt + 1 >= self.attempts:
            return None
        if isinstance(error, BusyError) and error.retry_delay is not None:
            wait = error.retry_delay
            return wait * random.uniform(1.0, 1.2) if wait <= self.busy_longest else None
        if isinstance(error, UnavailableError):
            return self.backoff(attempt)
        return None

    def backoff(self, attempt: int) -> float:
        """A random pause for the attempt of this number, from 0."""
        # 2 ** 30 is beyond any longest.
        ceiling = min(self.longest, self.first * 2 ** min(attempt, 30))
        return random.uniform(ceiling / 4, ceiling)


def _floats(name: str, values: npt.ArrayLike, each: int) -> npt.NDArray[np.float32]:
    array = np.ascontiguousarray(values, dtype="<f4").reshape(-1)
    if array.size == 0 or array.size % each:
        raise ValueError(f"{name} holds {array.size} floats: one is {each}")
    return array


def batch_request(
    model: str,
    audio_windows: npt.ArrayLike,
    batch_size: int | None,
    start_frame: int,
    visual_frames: npt.ArrayLike | None,
    format: Format,
    jpeg_quality: int,
) -> bytes:
    """A CompositeBatchRequest in its bytes.

    A packed field of floats is the floats' memory on the wire, so the tensors (61 MB for 25 frames) are copied once
    instead of being made Python numbers.
    """
    windows = _floats("audio_windows", audio_windows, WINDOW_LEN)
    visual = None if visual_frames is None else _floats("visual_frames", visual_frames, VISUAL_LEN)
    if batch_size is None:
        tensors = 1 if visual is None else visual.size // VISUAL_LEN
        batch_size = max(windows.size // WINDOW_LEN, tensors)
    small = pb.CompositeBatchRequest(
        model_id=model,
        batch_size=batch_size,
        start_frame_idx=start_frame,
        output_format=format.wire,
        jpeg_quality=jpeg_quality,
    )
    parts: list[Any] = [small.SerializeToString()]
    for number, floats in ((2, visual), (3, windows)):
        if floats is not None:
            parts += [_length_prefix(number, floats.nbytes), floats.data.cast("B")]
    return b"".join(parts)


def _length_prefix(number: int, length: int) -> bytes:
    prefix = bytearray([number << 3 | 2])
    while length > 0x7F:
        prefix.append(length & 0x7F | 0x80)
        length >>= 7
    prefix.append(length)
    return bytes(prefix)


def batch_of(answer: pb.CompositeBatchResponse, format: Format, size: tuple[int, int] | None) -> Batch:
    """The answer; `size` is the frames' width and height where they are to be arrays."""
    frames: Any = list(answer.composited_frames)
    if format is Format.RGB and size is not None:
        frames = [rgb_array(frame, *size) for frame in frames]
    return Batch(
        frames=frames,
        backgrounds=tuple(answer.background_indices),
        queue=answer.queue_time_ms / 1000,
        inference=answer.inference_time_ms / 1000,
        composite=answer.composite_time_ms / 1000,
        total=answer.total_time_ms / 1000,
        load=answer.model_load_time_ms / 1000 if answer.model_loaded else None,
    )


@dataclass(frozen=True)
class TalkOptions:
    """How a stream is to be."""

    model: str
    sample_rate: int = 16_000
    channels: int = 1
    format: Format = Format.JPEG
    jpeg_quality: int = 0
    realtime: bool = True
    #: Features past its own that a frame waits for, 0 to 8; None is all, what the network was trained with.
    lookahead: int | None = None
    start_frame: int = 0
    #: float32 samples instead of 16-bit integers.
    floats: bool = False

    sample_bytes: int = field(init=False, default=2)

    def __post_init__(self) -> None:
        object.__setattr__(self, "format", Format(self.format))
        object.__setattr__(self, "sample_bytes", 4 if self.floats else 2)

    @property
    def bytes_per_second(self) -> int:
        return self.sample_rate * self.channels * self.sample_bytes

    def request(self) -> pb.TalkRequest:
        """The first message of the stream."""
        start = pb.TalkStart(
            model_id=self.model,
            sample_format=pb.SAMPLE_FORMAT_F32LE if self.floats else pb.SAMPLE_FORMAT_S16LE,
            sample_rate_hz=self.sample_rate,
            channels=self.channels,
            output_format=self.format.wire,
            jpeg_quality=self.jpeg_quality,
            start_frame_idx=self.start_frame,
            realtime=self.realtime,
        )
        if self.lookahead is not None:
            start.lookahead = self.lookahead
        return pb.TalkRequest(start=start)


def pcm_bytes(pcm: bytes | bytearray | memoryview | npt.NDArray[Any], options: TalkOptions) -> bytes:
    """Samples as bytes; an array must have the stream's type."""
    if isinstance(pcm, np.ndarray):
        wanted = np.dtype("<f4" if options.floats else "<i2")
        if pcm.dtype != wanted:
            raise TypeError(f"samples are {pcm.dtype}, and the stream takes {wanted.name}")
        return pcm.tobytes()
    return bytes(pcm)
