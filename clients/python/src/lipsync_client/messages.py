"""What the server answers, and the formats of pictures."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Union

import numpy as np
import numpy.typing as npt

from .pb import lipsync_pb2 as pb

Pixels = npt.NDArray[np.uint8]


class Format(str, enum.Enum):
    """How a picture is encoded."""

    PNG = "png"
    JPEG = "jpeg"
    #: Packed RGB8 rows.
    RGB = "rgb"
    #: The planes Y, U and V, packed: BT.709, limited range; half of RGB's bytes.
    I420 = "i420"

    @property
    def wire(self) -> pb.ImageFormat:
        return _WIRE[self]


_WIRE = {
    Format.PNG: pb.IMAGE_FORMAT_PNG,
    Format.JPEG: pb.IMAGE_FORMAT_JPEG,
    Format.RGB: pb.IMAGE_FORMAT_RGB,
    Format.I420: pb.IMAGE_FORMAT_I420,
}


def rgb_array(image: bytes, width: int, height: int) -> Pixels:
    """An RGB picture as an array [height, width, 3] over the same memory."""
    return np.frombuffer(image, np.uint8).reshape(height, width, 3)


def i420_planes(image: bytes, width: int, height: int) -> tuple[Pixels, Pixels, Pixels]:
    """The planes Y, U and V of an I420 picture over the same memory; the sides of U and V are half, rounded up."""
    samples = np.frombuffer(image, np.uint8)
    half = ((height + 1) // 2, (width + 1) // 2)
    luma, chroma = width * height, half[0] * half[1]
    if len(samples) != luma + 2 * chroma:
        raise ValueError(f"{len(samples)} bytes are no I420 picture of {width}x{height}")
    y, u, v = np.split(samples, [luma, luma + chroma])
    return y.reshape(height, width), u.reshape(half), v.reshape(half)


@dataclass(frozen=True)
class ModelStats:
    """Figures of a model."""

    frames: int
    last_used: float | None
    inference_seconds: float
    memory_bytes: int
    loaded_at: float | None
    load_seconds: float
    loads: int

    @classmethod
    def _of(cls, stats: pb.ModelStats) -> ModelStats:
        return cls(
            frames=stats.usage_count,
            last_used=stats.last_used_unix_ms / 1000 or None,
            inference_seconds=stats.total_inference_time_ms / 1000,
            memory_bytes=stats.memory_bytes,
            loaded_at=stats.loaded_unix_ms / 1000 or None,
            load_seconds=stats.load_time_ms / 1000,
            loads=stats.load_count,
        )


@dataclass(frozen=True)
class Model:
    """A configured model."""

    id: str
    #: unloaded, loading, ready, reloading, draining or failed.
    status: str
    loaded: bool
    #: Whether speech can drive it.
    hears: bool
    fps: int
    #: Size of its frames and number of its backgrounds; 0 until it was loaded once.
    width: int
    height: int
    backgrounds: int
    #: Requests and streams that use it now.
    leases: int
    last_error: str
    #: Of this load; None if it is not loaded.
    stats: ModelStats | None
    #: Since the server's start.
    lifetime_stats: ModelStats

    @classmethod
    def _of(cls, info: pb.ModelInfo) -> Model:
        return cls(
            id=info.model_id,
            status=info.status,
            loaded=info.loaded,
            hears=info.hears,
            fps=info.fps,
            width=info.width,
            height=info.height,
            backgrounds=info.num_frames,
            leases=info.leases,
            last_error=info.last_error,
            stats=ModelStats._of(info.stats) if info.HasField("stats") else None,
            lifetime_stats=ModelStats._of(info.lifetime_stats),
        )


@dataclass(frozen=True)
class Stats:
    """Figures of the models, and the capacity."""

    models: tuple[Model, ...]
    models_max: int
    models_loaded: int
    memory_bytes: int
    memory_bytes_max: int

    @classmethod
    def _of(cls, answer: pb.GetModelStatsResponse) -> Stats:
        return cls(
            models=tuple(Model._of(info) for info in answer.models),
            models_max=answer.max_models,
            models_loaded=answer.loaded_models,
            memory_bytes=answer.total_memory_bytes,
            memory_bytes_max=answer.max_memory_bytes,
        )


@dataclass(frozen=True)
class Health:
    """Whether the server serves, and on what."""

    healthy: bool
    cuda: bool
    models_loaded: int
    models_max: int
    version: str

    @classmethod
    def _of(cls, answer: pb.HealthResponse) -> Health:
        return cls(answer.healthy, answer.cuda_available, answer.loaded_models, answer.max_models, answer.version)


@dataclass(frozen=True)
class Batch:
    """Finished frames."""

    #: Encoded pictures, or for rgb arrays [height, width, 3].
    frames: list[bytes] | list[Pixels]
    #: Which background each frame was painted on.
    backgrounds: tuple[int, ...]
    #: Seconds, summed over the frames but for `total`, which is the call's.
    queue: float
    inference: float
    composite: float
    total: float
    #: How long the model took to load, if this call caused or waited for that.
    load: float | None


@dataclass(frozen=True)
class Started:
    """A stream is accepted and its model loaded."""

    fps: int
    width: int
    height: int
    load: float | None


@dataclass(frozen=True)
class Frame:
    """A picture of a stream."""

    #: Frames of this stream before this one.
    index: int
    #: When to show it, in seconds since the stream's beginning.
    presentation_time: float
    frame_idx: int
    background: int
    #: Whether the mouth is the network's; otherwise it is an idle frame.
    speech: bool
    image: bytes = field(repr=False)
    #: Speech: which utterance of the stream, and which frame of it, from 0.
    utterance: int = 0
    utterance_frame: int = 0


@dataclass(frozen=True)
class UtteranceEnd:
    """All frames of an utterance have come."""

    utterance: int
    frames: int


@dataclass(frozen=True)
class Interrupted:
    """An interrupt took effect: no frame of earlier audio follows."""

    utterance: int
    #: How much of it the server had sent: its frames up to the last one, and the same in milliseconds of its audio.
    frames: int
    shown_ms: float


@dataclass(frozen=True)
class Summary:
    """The last event of a stream that was finished."""

    speech_frames: int
    idle_frames: int
    utterances: int
    late_frames: int
    skipped_frames: int
    first_frame: float
    total: float


Event = Union[Frame, UtteranceEnd, Interrupted, Summary]


def event_of(answer: pb.TalkResponse) -> Event:
    """An event after `started`."""
    kind = answer.WhichOneof("message")
    if kind == "frame":
        told = answer.frame
        return Frame(
            index=told.index,
            presentation_time=told.presentation_time_us / 1e6,
            frame_idx=told.frame_idx,
            background=told.background_index,
            speech=told.kind == pb.TalkFrame.KIND_SPEECH,
            image=told.image,
            utterance=told.utterance,
            utterance_frame=told.utterance_frame,
        )
    if kind == "utterance_end":
        return UtteranceEnd(answer.utterance_end.utterance, answer.utterance_end.frames)
    if kind == "interrupted":
        cut = answer.interrupted
        return Interrupted(cut.utterance, cut.frames, cut.shown_ms)
    if kind == "summary":
        summary = answer.summary
        return Summary(
            speech_frames=summary.speech_frames,
            idle_frames=summary.idle_frames,
            utterances=summary.utterances,
            late_frames=summary.late_frames,
            skipped_frames=summary.skipped_frames,
            first_frame=summary.first_frame_ms / 1000,
            total=summary.total_time_ms / 1000,
        )
    raise ValueError(f"the server sent {kind or 'a message that this client does not know'}")
