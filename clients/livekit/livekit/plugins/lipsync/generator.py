"""What LiveKit's AvatarRunner asks for frames: speech in, pictures with their sound out."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Union

import numpy as np
from lipsync_client import Avatar, Back, Cut, Format, Lost, Output, Picture, Spoken, Started, Voice
from livekit.agents.voice.avatar import AudioSegmentEnd, AvatarOptions, AvatarRunner, VideoGenerator

from livekit import rtc

from .log import logger

Item = Union[rtc.VideoFrame, rtc.AudioFrame, AudioSegmentEnd]

_TYPES = {Format.I420: rtc.VideoBufferType.I420, Format.RGB: rtc.VideoBufferType.RGB24}
#: Longer than what the runner's synchroniser holds, 100 ms.
_HANDOVER_MAX = 0.5


class LipsyncGenerator(VideoGenerator):
    """Frames of an avatar that is open. Every `AudioSegmentEnd` that follows audio comes back when it was given out."""

    def __init__(self, avatar: Avatar, started: Started) -> None:
        if avatar.options.format not in _TYPES:
            raise ValueError(f"format is {avatar.options.format.value}: LiveKit takes i420 or rgb")
        self._avatar = avatar
        self._started = started
        self._heard = False
        #: Of the segment at hand, if it has another rate.
        self._resampler: rtc.AudioResampler | None = None
        #: Interrupts so far.
        self._epoch = 0
        self._items: deque[Item] = deque()
        #: Set while the runner waits for the next frame: it is done with the one before.
        self._asked = asyncio.Event()
        self._drop: Callable[[], Awaitable[None]] | None = None
        self._played: Callable[[], Awaitable[None]] | None = None
        #: How much of the last interrupted utterance was given out.
        self.last_cut: Cut | None = None

    @property
    def options(self) -> AvatarOptions:
        """What the runner publishes."""
        return AvatarOptions(
            video_width=self._started.width,
            video_height=self._started.height,
            video_fps=self._started.fps,
            audio_sample_rate=self._avatar.options.sample_rate,
            audio_channels=self._avatar.options.channels,
        )

    def attach(self, runner: AvatarRunner) -> None:
        """Lets an interrupt drop what the runner holds, and the end of a segment wait for it."""
        self._drop = runner.av_sync.clear_queue
        self._played = runner.av_sync.wait_for_playout

    async def push_audio(self, frame: rtc.AudioFrame | AudioSegmentEnd) -> None:
        """Takes speech, or the end of a segment."""
        if isinstance(frame, rtc.AudioFrame):
            self._heard = True
            await self._avatar.push(self._fitted(frame))
        elif self._heard:
            self._heard = False
            if self._resampler is not None:
                await self._avatar.push(b"".join(bytes(rest.data) for rest in self._resampler.flush()))
                self._resampler = None
            self._avatar.end_of_speech()
        # The end of a segment that was cleared, which the receiver sends all the same, ends nothing.

    async def clear_buffer(self) -> None:
        """Silences the avatar. When this returns the runner has no frame of earlier speech in its hands."""
        self._heard = False
        self._resampler = None
        self._epoch += 1
        self._items.clear()
        # Before anything that waits: nothing of what was said is given out after this.
        self.last_cut = self._avatar.interrupt()
        if self._drop is not None:
            await self._drop()
        # The runner adds to the position that it then reports and sets to zero.
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._asked.wait(), _HANDOVER_MAX)

    def __aiter__(self) -> AsyncIterator[Item]:
        return self._frames()

    async def aclose(self) -> None:
        """Ends the avatar, and the iteration."""
        await self._avatar.aclose()

    def _fitted(self, frame: rtc.AudioFrame) -> bytes:
        """The frame's samples as the avatar takes them; an agent elsewhere may send another rate."""
        options = self._avatar.options
        data = bytes(frame.data)
        if frame.num_channels != options.channels:
            samples = np.frombuffer(data, "<i2").reshape(-1, frame.num_channels)
            data = samples.mean(axis=1).astype("<i2").repeat(options.channels).tobytes()
        if frame.sample_rate == options.sample_rate:
            return data
        if self._resampler is None:
            self._resampler = rtc.AudioResampler(frame.sample_rate, options.sample_rate, num_channels=options.channels)
        return b"".join(bytes(piece.data) for piece in self._resampler.push(bytearray(data)))

    async def _frames(self) -> AsyncIterator[Item]:
        while True:
            while self._items:
                yield self._items.popleft()
            self._asked.set()
            try:
                output = await anext(self._avatar)
            except StopAsyncIteration:
                return
            self._asked.clear()
            if isinstance(output, Spoken):
                epoch = self._epoch
                await self._wait_until_played()
                if self._epoch != epoch:
                    # The runner has told of the end, as of an interruption.
                    continue
            self._items.extend(self._items_of(output))

    async def _wait_until_played(self) -> None:
        if self._played is not None:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._played(), _HANDOVER_MAX)

    def _items_of(self, output: Output) -> list[Item]:
        if isinstance(output, Picture):
            # The frame refers to the picture's own memory.
            picture = rtc.VideoFrame(
                self._started.width, self._started.height, _TYPES[self._avatar.options.format], output.image
            )
            return [picture, *self._sound(output.audio)]
        if isinstance(output, Voice):
            return self._sound(output.audio)
        if isinstance(output, Spoken):
            return [AudioSegmentEnd()]
        if isinstance(output, Lost):
            logger.error("lipsync is gone, the voice goes on alone: %s", output.error.message)
        elif isinstance(output, Back):
            self._take(output.started)
        return []

    def _take(self, started: Started) -> None:
        if (started.width, started.height) != (self._started.width, self._started.height):
            logger.warning("the avatar's size is now %dx%d", started.width, started.height)
        self._started = started

    def _sound(self, audio: bytes) -> list[Item]:
        options = self._avatar.options
        samples = len(audio) // (2 * options.channels)
        return [rtc.AudioFrame(audio, options.sample_rate, options.channels, samples)] if samples else []
