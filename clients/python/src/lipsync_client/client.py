"""The client for code without an event loop."""

from __future__ import annotations

import contextlib
import queue
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import grpc
import numpy.typing as npt

from .errors import LipsyncError, UnavailableError, from_rpc
from .messages import Batch, Event, Format, Frame, Health, Model, ModelStats, Started, Stats, event_of
from .pb import lipsync_pb2 as pb
from .pb import lipsync_pb2_grpc as stubs
from .requests import (
    BATCH_METHOD,
    CHANNEL_OPTIONS,
    Address,
    Retries,
    TalkOptions,
    Tls,
    batch_of,
    batch_request,
    metadata,
    pcm_bytes,
)

T = TypeVar("T")


class Client:
    """A connection to a server. It is made by the first call, and again when it was lost. Threads may share it.

    >>> with Client("localhost:50053") as client:
    ...     batch = client.infer_batch("sanders", windows, format="rgb")
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        tls: Tls = None,
        tenant: str | None = None,
        timeout: float = 60.0,
        retries: Retries | None = None,
    ) -> None:
        address = Address.of(url, tls)
        self._token, self._tenant = token, tenant
        self._timeout = timeout
        self.retries = retries or Retries()
        self._channel = (
            grpc.insecure_channel(address.target, CHANNEL_OPTIONS)
            if address.credentials is None
            else grpc.secure_channel(address.target, address.credentials, CHANNEL_OPTIONS)
        )
        self._models = stubs.MultiTenantLipSyncStub(self._channel)
        self._batch = self._channel.unary_unary(
            BATCH_METHOD, response_deserializer=pb.CompositeBatchResponse.FromString
        )
        self._sizes: dict[str, tuple[int, int]] = {}

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends all calls, and the connection."""
        self._channel.close()

    def models(self) -> list[Model]:
        """The configured models."""
        answer = self._call(self._models.ListModels, pb.ListModelsRequest())
        return [Model._of(info) for info in answer.models]

    def load(self, model: str, *, force: bool = False, timeout: float = 600.0) -> ModelStats:
        """Loads a model and returns when it is ready; with `force`, again if it is loaded."""
        request = pb.LoadModelRequest(model_id=model, force_reload=force)
        # Loading what is loaded changes nothing; loading by force does.
        answer = self._call(self._models.LoadModel, request, timeout, model=model, safe=not force)
        return ModelStats._of(answer.stats)

    def unload(self, model: str, *, timeout: float = 600.0) -> None:
        """Unloads a model and returns when its last request has ended and its memory is free."""
        self._call(self._models.UnloadModel, pb.UnloadModelRequest(model_id=model), timeout, model=model)

    def stats(self, model: str | None = None) -> Stats:
        """Figures of one model or of all, and of the capacity."""
        request = pb.GetModelStatsRequest(model_id=model or "")
        return Stats._of(self._call(self._models.GetModelStats, request))

    def health(self) -> Health:
        """Whether the server serves, and on what."""
        return Health._of(self._call(self._models.Health, pb.HealthRequest()))

    def server_info(self) -> pb.GetServerInfoResponse:
        """The engine, the limits, and counts since the server's start, as the proto file names them."""
        stub = stubs.LipSyncStub(self._channel)
        return self._call(stub.GetServerInfo, pb.GetServerInfoRequest())

    def infer_batch(
        self,
        model: str,
        audio_windows: npt.ArrayLike,
        *,
        batch_size: int | None = None,
        start_frame: int = 0,
        visual_frames: npt.ArrayLike | None = None,
        format: Format | str = Format.PNG,
        jpeg_quality: int = 0,
        timeout: float | None = None,
    ) -> Batch:
        """1 to 25 finished frames: `audio_windows` holds one [32,16,16] for all of them, or one for each.

        Frames are bytes, or with `rgb` arrays. `visual_frames` [n,6,320,320] replaces what the server would make of its
        own backgrounds.
        """
        format = Format(format)
        request = batch_request(model, audio_windows, batch_size, start_frame, visual_frames, format, jpeg_quality)
        answer = self._call(self._batch, request, timeout, model=model)
        size = self._size(model, answer) if format is Format.RGB else None
        return batch_of(answer, format, size)

    def talk(
        self,
        model: str,
        *,
        sample_rate: int = 16_000,
        channels: int = 1,
        format: Format | str = Format.JPEG,
        jpeg_quality: int = 0,
        realtime: bool = True,
        lookahead: int | None = None,
        start_frame: int = 0,
        floats: bool = False,
    ) -> SyncTalkSession:
        """A live stream: `with client.talk("sanders", format="i420") as session`."""
        options = TalkOptions(
            model=model,
            sample_rate=sample_rate,
            channels=channels,
            format=Format(format),
            jpeg_quality=jpeg_quality,
            realtime=realtime,
            lookahead=lookahead,
            start_frame=start_frame,
            floats=floats,
        )
        return SyncTalkSession(self, options)

    def _size(self, model: str, answer: pb.CompositeBatchResponse) -> tuple[int, int] | None:
        length = len(answer.composited_frames[0]) if answer.composited_frames else 0
        width, height = self._sizes.get(model, (0, 0))
        if 3 * width * height != length:
            info = self.stats(model).models[0]
            self._sizes[model] = (width, height) = info.width, info.height
        return (width, height) if 3 * width * height == length else None

    def _call(
        self,
        method: Callable[..., T],
        request: Any,
        timeout: float | None = None,
        *,
        model: str | None = None,
        safe: bool = True,
    ) -> T:
        attempt = 0
        while True:
            try:
                return method(
                    request,
                    timeout=timeout or self._timeout,
                    metadata=metadata(self._token, self._tenant, model),
                )
            except grpc.RpcError as error:
                failed = from_rpc(error)
                pause = self.retries.pause(failed, attempt) if safe else None
                if pause is None:
                    raise failed from error
                attempt += 1
                time.sleep(pause)


#: Messages that wait for the connection: a push blocks behind them.
_WAITING_MAX = 8


class SyncTalkSession:
    """A live stream. Open it with `with`, push audio from one thread, and iterate over its events in another, or push
    a whole utterance, call `finish` and iterate.
    """

    def __init__(self, client: Client, options: TalkOptions) -> None:
        self._client = client
        self.options = options
        #: Set when the stream is open.
        self.started: Started
        self._requests: queue.Queue[pb.TalkRequest | None] = queue.Queue(_WAITING_MAX)
        self._call: Any = None

    def __enter__(self) -> SyncTalkSession:
        attempt = 0
        while True:
            try:
                self.started = self._begin()
                return self
            except LipsyncError as error:
                self.close()
                pause = self._client.retries.pause(error, attempt)
                if pause is None:
                    raise
                attempt += 1
                time.sleep(pause)

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the stream at once; does nothing if it has ended."""
        if self._call is not None:
            self._call.cancel()
        # gRPC's thread waits for the next message.
        with contextlib.suppress(queue.Full):
            self._requests.put_nowait(None)

    def push(self, pcm: bytes | bytearray | memoryview | npt.NDArray[Any]) -> None:
        """Sends interleaved samples, of any number. Waits while the server holds as much audio as it takes."""
        samples = pcm_bytes(pcm, self.options)
        if samples:
            self._put(pb.TalkRequest(audio=samples))

    def end_of_speech(self) -> None:
        """Ends the utterance: its last frames come, then its end."""
        self._put(pb.TalkRequest(end_of_speech=pb.EndOfSpeech()))

    def interrupt(self) -> None:
        """Drops everything that was not delivered. An `Interrupted` comes before any frame of later audio."""
        self._put(pb.TalkRequest(interrupt=pb.Interrupt()))

    def finish(self) -> None:
        """Says that no more audio comes; the last utterance ends, and the stream with its summary."""
        self._put(None)

    def __iter__(self) -> Iterator[Event]:
        try:
            for answer in self._call:
                yield event_of(answer)
        except grpc.RpcError as error:
            raise from_rpc(error) from error

    def _begin(self) -> Started:
        client = self._client
        self._requests = queue.Queue(_WAITING_MAX)
        self._requests.put(self.options.request())
        self._call = stubs.LipSyncStub(client._channel).Talk(
            iter(self._requests.get, None), metadata=metadata(client._token, client._tenant, self.options.model)
        )
        try:
            told = next(self._call).started
        except grpc.RpcError as error:
            raise from_rpc(error) from error
        load = told.model_load_time_ms / 1000 if told.model_loaded else None
        return Started(told.fps, told.width, told.height, load)

    def _put(self, request: pb.TalkRequest | None) -> None:
        while self._call.is_active():
            try:
                return self._requests.put(request, timeout=0.1)
            except queue.Full:
                continue
        code = self._call.code()
        if code is not None and code is not grpc.StatusCode.OK:
            raise from_rpc(self._call)
        raise UnavailableError("the stream is over", code=grpc.StatusCode.UNAVAILABLE)


__all__ = ["Client", "Frame", "SyncTalkSession"]
