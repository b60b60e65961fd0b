"""The avatar of a Pipecat pipeline: behind the TTS, in front of the output transport."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from lipsync_client import (
    AsyncClient,
    Avatar,
    AvatarOptions,
    Back,
    Cut,
    Format,
    Lost,
    Picture,
    Retries,
    Spoken,
    Started,
    Voice,
)
from loguru import logger
from pipecat.audio.utils import create_stream_resampler
from pipecat.frames.frames import (
    CancelFrame,
    EndFrame,
    Frame,
    InterruptionFrame,
    OutputImageRawFrame,
    StartFrame,
    TTSAudioRawFrame,
    TTSStartedFrame,
    TTSStoppedFrame,
)
from pipecat.processors.frame_processor import FrameDirection, FrameProcessorSetup
from pipecat.services.ai_service import AIService
from pipecat.services.settings import ServiceSettings

#: What a transport can be given, and Pipecat's word for it.
_FORMATS = {Format.RGB: "RGB", Format.I420: "I420"}


@dataclass
class LipsyncVideoSettings(ServiceSettings):
    """Settings of the service: `model` is the avatar, and is fixed once the pipeline runs."""


@dataclass
class _Utterance:
    """What is held of an utterance until the avatar comes to it."""

    started: list[TTSStartedFrame] = field(default_factory=list)
    stopped: list[TTSStoppedFrame] = field(default_factory=list)
    context_id: str | None = None


class LipsyncVideoService(AIService):
    """Makes an avatar say what the TTS says.

    TTS audio goes in; pictures come out with their own audio, in step. `TTSStoppedFrame` is held until the avatar has
    finished. An interruption silences it within one frame. While the server is gone the voice goes on alone, after one
    ErrorFrame; when it is back, so is the avatar.

    The transport needs `video_out_enabled`, the avatar's size, and `video_out_is_live` off.

    Event handlers:
        on_interrupted(service, cut): how much of the utterance had been shown: `cut.frames`, `cut.shown_ms`.
        on_connected(service, started): the avatar is there; `started` has its fps and size.
        on_disconnected(service, error): the server is gone.
    """

    Settings = LipsyncVideoSettings
    _settings: LipsyncVideoSettings

    def __init__(
        self,
        *,
        avatar: str,
        url: str = "localhost:50053",
        token: str | None = None,
        tls: bool | str | None = None,
        format: Format | str = Format.RGB,
        sample_rate: int | None = None,
        lookahead: int | None = None,
        buffer_frames: int = 1,
        client: AsyncClient | None = None,
        settings: LipsyncVideoSettings | None = None,
        **kwargs: Any,
    ) -> None:
        """Makes the service; it connects when the pipeline starts.

        Args:
            avatar: The model's id on the server.
            url: The server, as host:port or https://host:port.
            token: Where the server asks for one.
            tls: True, or a file of certificates to trust.
            format: `rgb`, which every transport takes, or `i420`, which is half as large.
            sample_rate: Of the audio that comes out; None is the pipeline's. TTS audio of another rate is resampled.
            lookahead: Features that a picture waits for, 0 to 8; fewer are faster and less exact.
            buffer_frames: Frames that pictures are held back, so that one that is late still meets its sound.
            client: A client to share between services; it stays open.
            settings: Pipecat's settings; `model` is set to `avatar`.
            **kwargs: For AIService.
        """
        super().__init__(settings=LipsyncVideoSettings(model=avatar), **kwargs)
        if settings is not None:
            self._settings.apply_update(settings)
        if Format(format) not in _FORMATS:
            raise ValueError(f"format is {Format(format).value}: transports take rgb or i420")
        self._owned = client is None
        self._client = client or AsyncClient(url, token=token, tls=tls, retries=Retries(attempts=1))
        self._sample_rate = sample_rate
        self._options: dict[str, Any] = {
            "model": avatar,
            "format": Format(format),
            "lookahead": lookahead,
            "buffer_frames": buffer_frames,
        }
        self._avatar: Avatar | None = None
        self._delivery: asyncio.Task[None] | None = None
        self._resampler = create_stream_resampler()
        self._held: dict[int, _Utterance] = {}
        #: Whether audio of the utterance at hand came, and whether its first picture is waited for.
        self._heard = self._timed = False
        self._drained = asyncio.Event()
        self._drained.set()
        #: The stream that is open, if one is: fps, width and height.
        self.started: Started | None = None
        for event in ("on_interrupted", "on_connected", "on_disconnected"):
            self._register_event_handler(event)

    def can_generate_metrics(self) -> bool:
        """TTFB: from the first audio of an utterance to its first picture."""
        return True

    # Life.

    async def setup(self, setup: FrameProcessorSetup) -> None:  # type: ignore[override]  # as Pipecat's own
        """Takes the pipeline's sample rate."""
        await super().setup(setup)
        self._sample_rate = self._sample_rate or setup.audio_out_sample_rate
        self._avatar = Avatar(self._client, AvatarOptions(sample_rate=self._sample_rate, **self._options))

    async def stop(self, frame: EndFrame) -> None:
        """Lets the avatar finish what it was given."""
        await super().stop(frame)
        await self._drained.wait()
        await self._close()

    async def cancel(self, frame: CancelFrame) -> None:
        """Ends at once."""
        await super().cancel(frame)
        await self._close()

    async def cleanup(self) -> None:
        """Frees everything."""
        await super().cleanup()
        await self._close()
        if self._owned:
            await self._client.close()

    async def _close(self) -> None:
        if self._avatar is not None:
            await self._avatar.aclose()
        if self._delivery is not None:
            task, self._delivery = self._delivery, None
            await self.cancel_task(task)
        self._held.clear()
        self._drained.set()

    # In.

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Takes what the TTS says; everything else passes."""
        await super().process_frame(frame, direction)
        if isinstance(frame, StartFrame):
            await self.push_frame(frame, direction)
            await self._begin()
        elif isinstance(frame, InterruptionFrame):
            await self._interrupt()
            await self.push_frame(frame, direction)
        elif direction is FrameDirection.DOWNSTREAM and self._delivery is not None:
            await self._process_speech(frame)
        else:
            await self.push_frame(frame, direction)

    async def _process_speech(self, frame: Frame) -> None:
        if isinstance(frame, TTSStartedFrame):
            self._utterance().started.append(frame)
        elif isinstance(frame, TTSAudioRawFrame):
            await self._hear(frame)
        elif isinstance(frame, TTSStoppedFrame):
            await self._end_utterance(frame)
        else:
            await self.push_frame(frame)

    async def _begin(self) -> None:
        if self._avatar is not None and self._delivery is None:
            self._avatar.begin()
            self._delivery = self.create_task(self._deliver(self._avatar))

    def _utterance(self) -> _Utterance:
        """What is held of the utterance at hand."""
        self._drained.clear()
        assert self._avatar is not None
        return self._held.setdefault(self._avatar.utterance, _Utterance())

    async def _hear(self, frame: TTSAudioRawFrame) -> None:
        assert self._avatar is not None and self._sample_rate is not None
        utterance = self._utterance()
        utterance.context_id = frame.context_id
        if not self._heard:
            self._heard = True
            if not self._timed:
                self._timed = True
                await self.start_ttfb_metrics()
        pcm = frame.audio
        if frame.num_channels > 1:
            samples = np.frombuffer(pcm, "<i2").reshape(-1, frame.num_channels)
            pcm = samples.mean(axis=1).astype("<i2").tobytes()
        if frame.sample_rate != self._sample_rate:
            pcm = await self._resampler.resample(pcm, frame.sample_rate, self._sample_rate)
        await self._avatar.push(pcm)

    async def _end_utterance(self, frame: TTSStoppedFrame) -> None:
        assert self._avatar is not None
        self._utterance().stopped.append(frame)
        if tail := await self._resampler.flush():
            await self._avatar.push(tail)
        self._avatar.end_of_speech()
        self._heard = False

    async def _interrupt(self) -> None:
        if self._avatar is None:
            return
        # Before anything that waits: nothing of what was said is given out after this.
        cut: Cut | None = self._avatar.interrupt()
        self._heard = self._timed = False
        self._held.clear()
        self._drained.set()
        await self._resampler.reset()
        if cut is not None:
            await self._call_event_handler("on_interrupted", cut)

    # Out.

    async def _deliver(self, avatar: Avatar) -> None:
        async for output in avatar:
            if isinstance(output, Picture):
                await self._show(output)
            elif isinstance(output, Voice):
                await self._say(output.audio, output.utterance)
            elif isinstance(output, Spoken):
                await self._finish_utterance(output.utterance)
            elif isinstance(output, Back):
                self.started = output.started
                logger.info(f"{self}: the avatar is there, {output.started.width}x{output.started.height}")
                await self._call_event_handler("on_connected", output.started)
            elif isinstance(output, Lost):
                self.started = None
                await self.push_error(
                    f"lipsync is gone, the voice goes on alone: {output.error.message}", exception=output.error
                )
                await self._call_event_handler("on_disconnected", output.error)

    async def _show(self, picture: Picture) -> None:
        if self.started is None:
            return
        image = OutputImageRawFrame(
            image=picture.image,
            size=(self.started.width, self.started.height),
            format=_FORMATS[self._options["format"]],
        )
        # Behind the audio before it, so that it is shown while its own audio is heard.
        image.sync_with_audio = True
        if not picture.speech:
            await self.push_frame(image)
            return
        if picture.audio and self._timed:
            self._timed = False
            await self.stop_ttfb_metrics()
        await self._begin_utterance(picture.utterance)
        await self.push_frame(image)
        await self._say(picture.audio, picture.utterance)

    async def _say(self, audio: bytes, utterance: int) -> None:
        held = self._held.get(utterance)
        # Without one it was interrupted meanwhile.
        if audio and held is not None:
            await self._begin_utterance(utterance)
            assert self._sample_rate is not None
            await self.push_frame(
                TTSAudioRawFrame(audio=audio, sample_rate=self._sample_rate, num_channels=1, context_id=held.context_id)
            )

    async def _begin_utterance(self, utterance: int) -> None:
        if (held := self._held.get(utterance)) is not None:
            started, held.started = held.started, []
            for frame in started:
                await self.push_frame(frame)

    async def _finish_utterance(self, utterance: int) -> None:
        await self._begin_utterance(utterance)
        if (held := self._held.pop(utterance, None)) is not None:
            for frame in held.stopped:
                await self.push_frame(frame)
        if not self._held:
            self._drained.set()
