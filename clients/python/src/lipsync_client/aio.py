"""The client for asyncio."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import Any, TypeVar

import grpc
import numpy.typing as npt

from .errors import LipsyncError, UnavailableError, from_rpc
from .messages import (
    Batch,
    Event,
    Format,
    Frame,
    Health,
    Interrupted,
    Model,
    ModelStats,
    Started,
    Stats,
    UtteranceEnd,
    event_of,
)
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


class AsyncClient:
    """A connection to a server, for asyncio. It is made by the first call, and again when it was lost.

    >>> async with AsyncClient("localhost:50053") as client:
    ...     for model in await client.models():
    ...         print(model.id, model.status)
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
        self._address = Address.of(url, tls)
        self._token, self._tenant = token, tenant
        self._timeout = timeout
        self.retries = retries or Retries()
        self._opened: grpc.aio.Channel | None = None
        self._sizes: dict[str, tuple[int, int]] = {}

    @property
    def _channel(self) -> grpc.aio.Channel:
        # Made inside the event loop that uses it.
        if self._opened is None:
            target, credentials = self._address.target, self._address.credentials
            self._opened = (
                grpc.aio.insecure_channel(target, CHANNEL_OPTIONS)
                if credentials is None
                else grpc.aio.secure_channel(target, credentials, CHANNEL_OPTIONS)
            )
        return self._opened

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends all calls, and the connection."""
        if self._opened is not None:
            await self._opened.close()
            self._opened = None

    async def models(self) -> list[Model]:
        """The configured models."""
        answer = await self._call(self._models.ListModels, pb.ListModelsRequest())
        return [Model._of(info) for info in answer.models]

    async def load(self, model: str, *, force: bool = False, timeout: float = 600.0) -> ModelStats:
        """Loads a model and returns when it is ready; with `force`, again if it is loaded."""
        request = pb.LoadModelRequest(model_id=model, force_reload=force)
        # Loading what is loaded changes nothing; loading by force does.
        answer = await self._call(self._models.LoadModel, request, timeout, model=model, safe=not force)
        return ModelStats._of(answer.stats)

    async def unload(self, model: str, *, timeout: float = 600.0) -> None:
        """Unloads a model and returns when its last request has ended and its memory is free."""
        await self._call(self._models.UnloadModel, pb.UnloadModelRequest(model_id=model), timeout, model=model)

    async def stats(self, model: str | None = None) -> Stats:
        """Figures of one model or of all, and of the capacity."""
        request = pb.GetModelStatsRequest(model_id=model or "")
        return Stats._of(await self._call(self._models.GetModelStats, request))

    async def health(self) -> Health:
        """Whether the server serves, and on what."""
        return Health._of(await self._call(self._models.Health, pb.HealthRequest()))

    async def server_info(self) -> pb.GetServerInfoResponse:
        """The engine, the limits, and counts since the server's start, as the proto file names them."""
        stub = stubs.LipSyncStub(self._channel)
        return await self._call(stub.GetServerInfo, pb.GetServerInfoRequest())

    async def infer_batch(
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
        call = self._channel.unary_unary(BATCH_METHOD, response_deserializer=pb.CompositeBatchResponse.FromString)
        answer = await self._call(call, request, timeout, model=model)
        size = await self._size(model, answer) if format is Format.RGB else None
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
    ) -> TalkSession:
        """A live stream: `async with client.talk("sanders", format="i420") as session`."""
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
        return TalkSession(self, options)

    @property
    def _models(self) -> stubs.MultiTenantLipSyncStub:
        return stubs.MultiTenantLipSyncStub(self._channel)

    async def _size(self, model: str, answer: pb.CompositeBatchResponse) -> tuple[int, int] | None:
        length = len(answer.composited_frames[0]) if answer.composited_frames else 0
        width, height = self._sizes.get(model, (0, 0))
        if 3 * width * height != length:
            info = (await self.stats(model)).models[0]
            self._sizes[model] = (width, height) = info.width, info.height
        return (width, height) if 3 * width * height == length else None

    async def _call(
        self,
        method: Callable[..., Awaitable[T]],
        request: Any,
        timeout: float | None = None,
        *,
        model: str | None = None,
        safe: bool = True,
    ) -> T:
        attempt = 0
        while True:
            try:
                return await method(
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
                await asyncio.sleep(pause)


class TalkSession:
    """A live stream. Open it with `async with`, push audio, and iterate over its events.

    Leaving the block ends the stream at once, and with it all that the server does for it. To have the last frames,
    call `finish` and iterate until the summary.
    """

    def __init__(self, client: AsyncClient, options: TalkOptions) -> None:
        self._client = client
        self.options = options
        #: Set when the stream is open.
        self.started: Started
        #: Which utterance the next audio belongs to.
        self.utterance = 0
        self._call: Any = None
        # gRPC takes one message at a time.
        self._writing = asyncio.Lock()
        #: Bytes pushed, the sums of these at the ends of utterances not shown yet, and bytes shown.
        self._pushed = 0
        self._ends: deque[int] = deque()
        self._begun = self._shown = 0
        #: The first utterance that was not interrupted.
        self._first = 0
        self._heard = False
        self._over = self.is_closed = False

    async def open(self) -> TalkSession:
        """Opens the stream; a server that cannot be reached or is busy is tried again."""
        attempt = 0
        while True:
            try:
                self.started = await self._begin()
                return self
            except LipsyncError as error:
                pause = self._client.retries.pause(error, attempt)
                if pause is None:
                    raise
                attempt += 1
                await asyncio.sleep(pause)

    async def __aenter__(self) -> TalkSession:
        return await self.open()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the stream at once; does nothing if it has ended."""
        self.is_closed = True
        if self._call is not None:
            self._call.cancel()

    async def push(self, pcm: bytes | bytearray | memoryview | npt.NDArray[Any]) -> None:
        """Sends interleaved samples, of any number. Waits while the server holds as much audio as it takes."""
        samples = pcm_bytes(pcm, self.options)
        if samples:
            self._heard = True
            self._pushed += len(samples)
            await self._write(pb.TalkRequest(audio=samples))

    async def end_of_speech(self) -> int:
        """Ends the utterance: its last frames come, then its end. Gives its number."""
        ended, self.utterance, self._heard = self.utterance, self.utterance + 1, False
        self._ends.append(self._pushed)
        await self._write(pb.TalkRequest(end_of_speech=pb.EndOfSpeech()))
        return ended

    async def interrupt(self) -> None:
        """Drops everything that was not delivered. An `Interrupted` comes before any frame of later audio."""
        self.utterance, self._heard = self.after_interrupt, False
        self._first = self.utterance
        self._begun = self._shown = self._pushed
        self._ends.clear()
        await self._write(pb.TalkRequest(interrupt=pb.Interrupt()))

    async def finish(self) -> None:
        """Says that no more audio comes; the last utterance ends, and the stream with its summary."""
        async with self._writing:
            await self._call.done_writing()

    @property
    def after_interrupt(self) -> int:
        """The utterance that audio after an interrupt belongs to: an interrupt ends one of which audio was sent."""
        return self.utterance + self._heard

    @property
    def ahead(self) -> float:
        """Seconds of audio that were pushed and not shown yet: how far the voice is ahead of the avatar."""
        return max(0, self._pushed - self._shown) / self.options.bytes_per_second

    def _note(self, event: Event) -> None:
        """Keeps count of what was shown."""
        if isinstance(event, (Frame, UtteranceEnd)) and event.utterance < self._first:
            # On the way when it was interrupted.
            return
        if isinstance(event, Frame) and event.speech:
            seconds = (event.utterance_frame + 1) / self.started.fps
            self._shown = self._begun + int(seconds * self.options.bytes_per_second)
        elif isinstance(event, UtteranceEnd) and self._ends:
            self._begun = self._shown = self._ends.popleft()

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        answer = None if self._over else await self._read()
        if answer is None:
            self._over = True
            raise StopAsyncIteration
        event = event_of(answer)
        self._note(event)
        return event

    async def _begin(self) -> Started:
        client = self._client
        self._call = stubs.LipSyncStub(client._channel).Talk(
            metadata=metadata(client._token, client._tenant, self.options.model)
        )
        try:
            await asyncio.wait_for(self._write(self.options.request()), client._timeout)
            answer = await asyncio.wait_for(self._read(), client._timeout)
        except asyncio.TimeoutError:
            self._call.cancel()
            raise UnavailableError(
                f"the server did not answer within {client._timeout:g} s", code=grpc.StatusCode.UNAVAILABLE
            ) from None
        if answer is None or answer.WhichOneof("message") != "started":
            self._call.cancel()
            raise LipsyncError("the server began the stream with another message than `started`")
        told = answer.started
        load = told.model_load_time_ms / 1000 if told.model_loaded else None
        return Started(told.fps, told.width, told.height, load)

    async def _read(self) -> pb.TalkResponse | None:
        try:
            answer = await self._call.read()
        except grpc.RpcError as error:
            raise from_rpc(error) from error
        except asyncio.CancelledError:
            # gRPC says so too when the stream was closed here.
            if self.is_closed:
                return None
            raise
        if answer is not grpc.aio.EOF:
            return answer
        await self._raise_status()
        return None

    async def _write(self, request: pb.TalkRequest) -> None:
        async with self._writing:
            try:
                await self._call.write(request)
            except (grpc.RpcError, asyncio.InvalidStateError):
                # The write only knows that the call is over; its status says why.
                await self._raise_status()
                raise UnavailableError("the stream is over", code=grpc.StatusCode.UNAVAILABLE) from None

    async def _raise_status(self) -> None:
        code = await self._call.code()
        if code is grpc.StatusCode.OK:
            return
        raise from_rpc(
            grpc.aio.AioRpcError(
                code,
                await self._call.initial_metadata(),
                await self._call.trailing_metadata(),
                await self._call.details(),
            )
        )


__all__ = [
    "AsyncClient",
    "Event",
    "Frame",
    "Interrupted",
    "TalkSession",
    "UtteranceEnd",
]
