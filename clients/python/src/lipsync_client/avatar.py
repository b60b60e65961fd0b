"""A talking avatar for an agent: sound in, pictures with their sound out, whatever becomes of the server.

A paced stream, picture and sound in step; an interruption that is heard at once; the voice alone while the server is
gone, and the avatar again when it is back. The plug-ins of Pipecat and LiveKit are thin layers over this.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Union

import grpc

from .aio import AsyncClient, TalkSession
from .errors import LipsyncError, UnavailableError
from .messages import Format, Frame, Interrupted, Started, Summary, UtteranceEnd
from .pairing import Paired, Pairing, Picture, Sound, Spoken, Voice
from .requests import Retries

logger = logging.getLogger("lipsync_client")

#: Pictures that wait for a consumer that is too slow; their sound is kept, the oldest pictures go.
_WAITING_MAX = 25
#: Seconds between two looks at whether the server still sends.
_LOOK_EVERY = 1.0


@dataclass(frozen=True)
class Lost:
    """The server is gone: until `Back`, what is pushed comes back as voice alone."""

    error: LipsyncError


@dataclass(frozen=True)
class Back:
    """The server is there, for the first time or again."""

    started: Started


@dataclass(frozen=True)
class Cut:
    """How much of an utterance was taken from the avatar before it was interrupted."""

    utterance: int
    frames: int
    #: The same as time of its sound, in milliseconds: a transcript can be cut there.
    shown_ms: int


Output = Union[Picture, Voice, Spoken, Lost, Back]


@dataclass(frozen=True)
class AvatarOptions:
    """How an avatar is to be. Samples are 16-bit integers, interleaved."""

    model: str
    sample_rate: int = 24_000
    channels: int = 1
    format: Format = Format.I420
    lookahead: int | None = None
    #: Frames that pictures are held back, so that one that comes late still meets its sound.
    buffer_frames: int = 1
    #: Seconds of sound the server may be ahead of what it shows. An interrupt cannot overtake what was sent.
    ahead_max: float = 10.0
    #: Seconds of sound that may wait here; `push` waits beyond that.
    unsent_max: float = 60.0
    #: Seconds without any picture after which the server counts as gone.
    patience: float = 5.0
    #: The pauses between attempts to reach a server that is gone.
    retries: Retries = field(default_factory=lambda: Retries(longest=3.0))

    def __post_init__(self) -> None:
        object.__setattr__(self, "format", Format(self.format))
        for name, low, high in (
            ("sample_rate", 1_000, 768_000),
            ("channels", 1, 64),
            ("buffer_frames", 0, 25),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"{name} is {value}: use {low} to {high}")
        for name in ("ahead_max", "unsent_max", "patience"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be more than 0")


class _Mark:
    """What is sent beside sound."""

    END = "end"
    INTERRUPT = "interrupt"


class Avatar:
    """An avatar. `open` or `begin` it, push sound, iterate over what comes, and `aclose` it.

    Utterances are numbered from 0 in the order of `end_of_speech` and of the interrupts that cut one.
    """

    def __init__(self, client: AsyncClient, options: AvatarOptions) -> None:
        self._client = client
        self.options = options
        self._sample_bytes = 2 * options.channels
        self._out: deque[Output] = deque()
        self._pictures = 0
        #: The utterance whose sound was taken last, if it is not over, and how many bytes of it were.
        self._taken: tuple[int, int] | None = None
        self._ready = asyncio.Event()
        self._unsent: deque[bytes | str] = deque()
        self._unsent_bytes = 0
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._pairing: Pairing | None = None
        #: The number of the stream's first utterance.
        self._base = 0
        #: The utterance at hand, whether any sound of it came, and whether it goes out as voice alone.
        self._number = 0
        self._open = False
        self._alone = True
        #: Interrupts so far.
        self._epoch = 0
        self._back: tuple[TalkSession, Pairing] | None = None
        self._next_frame = 0
        self._fps = 25
        self._timer: asyncio.TimerHandle | None = None
        self._last_event = 0.0
        self._session: TalkSession | None = None
        self._task: asyncio.Task[None] | None = None
        self._first: asyncio.Future[Started] | None = None
        self._closed = False

    # Life.

    def begin(self) -> None:
        """Begins to look for the server: `Back` or `Lost` comes among the outputs."""
        if self._task is None and not self._closed:
            self._task = asyncio.create_task(self._run(), name="lipsync avatar")

    async def open(self) -> Started:
        """Begins, and waits for the first stream. Raises if there is none, and is closed then."""
        self._first = asyncio.get_running_loop().create_future()
        self.begin()
        try:
            return await asyncio.shield(self._first)
        except LipsyncError:
            await self.aclose()
            raise

    async def aclose(self) -> None:
        """Ends everything; the iteration ends after what is ready."""
        self._closed = True
        self._stop_timer()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._ready.set()
        self._room.set()

    # Sound in.

    async def push(self, pcm: bytes) -> None:
        """Takes sound of the utterance at hand. Waits while too much of it waits to be sent; an interrupt drops it."""
        if not pcm:
            return
        epoch = self._epoch
        while self._unsent_bytes > self.options.unsent_max * self._bytes_per_second and not self._closed:
            self._room.clear()
            await self._room.wait()
            if self._epoch != epoch:
                return
        self._open = True
        if self._alone or self._pairing is None:
            self._give([Voice(pcm, self._number)])
            return
        self._pairing.audio(pcm)
        self._unsent_bytes += len(pcm)
        self._send(pcm)
        self._arm()

    def end_of_speech(self) -> int:
        """Ends the utterance at hand; gives its number, which `Spoken` names when it was given out."""
        ended, self._number, self._open = self._number, self._number + 1, False
        if self._alone or self._pairing is None:
            self._give([Spoken(ended)])
            self._return()
        else:
            self._pairing.end()
            self._send(_Mark.END)
            self._arm()
        return ended

    def interrupt(self) -> Cut | None:
        """Drops everything that was not taken, at once; gives how much was of what is being said, if anything is."""
        cut = self._cut()
        self._taken = None
        self._out = deque(output for output in self._out if isinstance(output, (Lost, Back)))
        self._pictures = 0
        self._unsent.clear()
        self._unsent_bytes = 0
        self._epoch += 1
        self._room.set()
        if self._pairing is not None and not self._alone:
            session = self._session
            following = session.after_interrupt if session is not None else self._pairing.writing
            self._pairing.interrupt(following)
            self._send(_Mark.INTERRUPT)
        self._number += self._open
        self._open = False
        if self._pairing is not None:
            # What was never sent has a number here, and none at the server.
            self._base = self._number - self._pairing.writing
        self._return()
        return cut

    def _cut(self) -> Cut | None:
        if self._taken is not None:
            utterance, length = self._taken
            seconds = length / self._bytes_per_second
            return Cut(utterance, round(seconds * self._fps), round(1000 * seconds))
        waiting = [output.utterance for output in self._out if isinstance(output, (Picture, Voice)) and output.audio]
        if waiting:
            return Cut(waiting[0], 0, 0)
        speaking = self._pairing.speaking if self._pairing is not None else None
        return None if speaking is None else Cut(speaking + self._base, 0, 0)

    @property
    def utterance(self) -> int:
        """The number of the utterance at hand."""
        return self._number

    @property
    def is_connected(self) -> bool:
        """Whether the server is there."""
        return self._pairing is not None

    # Pictures and sound out.

    def __aiter__(self) -> AsyncIterator[Output]:
        return self

    async def __anext__(self) -> Output:
        while not self._out:
            if self._closed:
                raise StopAsyncIteration
            self._ready.clear()
            await self._ready.wait()
        output = self._out.popleft()
        self._pictures -= isinstance(output, Picture)
        if isinstance(output, (Picture, Voice)) and output.audio:
            utterance, length = self._taken or (output.utterance, 0)
            length = length if utterance == output.utterance else 0
            self._taken = (output.utterance, length + len(output.audio))
        elif isinstance(output, Spoken):
            self._taken = None
        return output

    def _give(self, outputs: list[Paired] | list[Voice] | list[Spoken] | list[Lost] | list[Back]) -> None:
        for output in outputs:
            self._out.append(output)
            self._pictures += isinstance(output, Picture)
        if self._pictures > _WAITING_MAX:
            self._thin_out()
        if self._out:
            self._ready.set()

    def _thin_out(self) -> None:
        """Takes the oldest picture away, and leaves its sound."""
        for index, output in enumerate(self._out):
            if isinstance(output, Picture):
                self._pictures -= 1
                if output.audio:
                    self._out[index] = Voice(output.audio, output.utterance)
                else:
                    del self._out[index]
                return

    # The stream.

    @property
    def _bytes_per_second(self) -> int:
        return self.options.sample_rate * self._sample_bytes

    async def _run(self) -> None:
        attempt = 0
        told = False
        while True:
            try:
                session = await self._connect()
                attempt, told = 0, False
                await self._converse(session)
            except Exception as caught:
                error = (
                    caught if isinstance(caught, LipsyncError) else LipsyncError(f"{type(caught).__name__}: {caught}")
                )
                if error is not caught:
                    logger.exception("a stream failed in the client")
                if self._first is not None and not self._first.done():
                    self._first.set_exception(error)
                    return
                self._lose()
                if not told:
                    told = True
                    logger.warning("lipsync is gone: %s", error)
                    self._give([Lost(error)])
            await asyncio.sleep(self.options.retries.backoff(attempt))
            attempt += 1

    async def _connect(self) -> TalkSession:
        options = self.options
        session = self._client.talk(
            options.model,
            sample_rate=options.sample_rate,
            channels=options.channels,
            format=options.format,
            lookahead=options.lookahead,
            start_frame=self._next_frame,
        )
        await session.open()
        return session

    async def _converse(self, session: TalkSession) -> None:
        """Runs a stream to its end, which is always an error."""
        sound = Sound(self.options.sample_rate, self._sample_bytes, session.started.fps)
        self._back = (session, Pairing(sound, self.options.buffer_frames, self.options.patience))
        self._session = session
        self._last_event = asyncio.get_running_loop().time()
        self._fps = session.started.fps
        self._return()
        self._give([Back(session.started)])
        if self._first is not None and not self._first.done():
            self._first.set_result(session.started)
        writer = asyncio.create_task(self._write(session))
        try:
            async for event in session:
                self._take(event)
            raise UnavailableError(
                f"no picture came for {self.options.patience:g} s" if session.is_closed else "the stream ended",
                code=grpc.StatusCode.UNAVAILABLE,
            )
        finally:
            self._stop_timer()
            session.close()
            writer.cancel()
            # Its error is the stream's.
            await asyncio.gather(writer, return_exceptions=True)

    def _return(self) -> None:
        """Goes over to a stream that is there, between two utterances."""
        if self._back is not None and not self._open:
            _, self._pairing = self._back
            self._back = None
            self._base = self._number
            self._alone = False

    def _lose(self) -> None:
        """Goes over to the voice alone, with what the stream left behind."""
        self._session = self._back = None
        pairing, self._pairing = self._pairing, None
        self._alone = True
        self._unsent.clear()
        self._unsent_bytes = 0
        self._room.set()
        if pairing is not None:
            self._give([self._numbered(output) for output in pairing.flush()])

    async def _write(self, session: TalkSession) -> None:
        while True:
            while not self._unsent or self._is_far_ahead():
                self._wake.clear()
                await self._wake.wait()
            item = self._unsent.popleft()
            if isinstance(item, bytes):
                self._unsent_bytes -= len(item)
                self._room.set()
                await session.push(item)
            elif item == _Mark.END:
                await session.end_of_speech()
            else:
                await session.interrupt()

    def _is_far_ahead(self) -> bool:
        """Whether the server holds so much sound that an interrupt would have to wait behind it."""
        if self._pairing is None or not isinstance(self._unsent[0], bytes):
            return False
        sent = self._pairing.pending - self._unsent_bytes / self._bytes_per_second
        return sent > self.options.ahead_max

    def _send(self, item: bytes | str) -> None:
        self._unsent.append(item)
        self._wake.set()

    def _take(self, event: Frame | UtteranceEnd | Interrupted | Summary) -> None:
        now = self._last_event = asyncio.get_running_loop().time()
        # A stream that waits for an utterance's end is shown, and says nothing yet.
        pairing = self._pairing or (self._back and self._back[1])
        if pairing is None:
            return
        if isinstance(event, Frame):
            self._next_frame = event.frame_idx + 1
            self._deliver(pairing.picture(event, now))
        elif isinstance(event, UtteranceEnd):
            self._deliver(pairing.utterance_end(event.utterance, now))
        self._wake.set()
        self._arm()

    def _deliver(self, outputs: list[Paired]) -> None:
        self._give([self._numbered(output) for output in outputs])

    def _numbered(self, output: Paired) -> Paired:
        return replace(output, utterance=output.utterance + self._base) if self._base else output

    # Time.

    def _arm(self) -> None:
        """Sees to it that `_tick` runs when something is due."""
        self._stop_timer()
        loop = asyncio.get_running_loop()
        at = loop.time() + _LOOK_EVERY
        due = self._pairing.due if self._pairing is not None else None
        self._timer = loop.call_at(at if due is None else min(at, due), self._tick)

    def _tick(self) -> None:
        self._timer = None
        if self._session is None:
            return
        now = asyncio.get_running_loop().time()
        if now - self._last_event > self.options.patience:
            # The reader then ends, and `_run` tries again.
            self._session.close()
            return
        if self._pairing is not None:
            self._deliver(self._pairing.tick(now))
            self._wake.set()
        self._arm()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


__all__ = ["Avatar", "AvatarOptions", "Back", "Cut", "Lost", "Output", "Picture", "Spoken", "Voice"]
