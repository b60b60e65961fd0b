"""The service in real pipelines, against the real server."""

import asyncio
import time

import pytest
from lipsync_client import Retries
from pipecat.frames.frames import (
    BotStartedSpeakingFrame,
    BotStoppedSpeakingFrame,
    CancelFrame,
    EndFrame,
    ErrorFrame,
    InterruptionFrame,
    MetricsFrame,
    OutputAudioRawFrame,
    OutputImageRawFrame,
    StartFrame,
    TextFrame,
    TTSAudioRawFrame,
    TTSStartedFrame,
    TTSStoppedFrame,
)
from pipecat.metrics.metrics import TTFBMetricsData
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.frame_processor import FrameDirection
from pipecat.tests.utils import QueuedFrameProcessor, SleepFrame, run_test
from pipecat.transports.base_output import BaseOutputTransport
from pipecat.transports.base_transport import TransportParams
from pipecat.workers.runner import WorkerRunner
from serve import PAIRS_ENOUGH, PATIENCE, SIZE, Server, bursts, free_port, mouth, offset_in_frames

from pipecat_lipsync import LipsyncVideoService

RATE = 24_000
#: Bytes of 40 ms.
PIECE = RATE // 25 * 2


def utterance(pcm: bytes, context: str = "one", rate: int = RATE, channels: int = 1) -> list:
    """An utterance as a TTS gives it out."""
    chunks = [pcm[at : at + 6000] for at in range(0, len(pcm), 6000)]
    audio = [TTSAudioRawFrame(chunk, rate, channels, context_id=context) for chunk in chunks]
    return [TTSStartedFrame(context_id=context), *audio, TTSStoppedFrame(context_id=context)]


def sound(frames) -> bytes:
    return b"".join(frame.audio for frame in frames if isinstance(frame, TTSAudioRawFrame))


def pairs(frames) -> list[tuple[bytes, bytes]]:
    """Pictures and the audio that follows each."""
    return [
        (picture.image, audio.audio)
        for picture, audio in zip(frames, frames[1:], strict=False)
        if isinstance(picture, OutputImageRawFrame) and isinstance(audio, TTSAudioRawFrame)
    ]


def is_idle(frame, after) -> bool:
    return isinstance(frame, OutputImageRawFrame) and not isinstance(after, TTSAudioRawFrame)


class Stage:
    """A pipeline that runs: what goes in, what has come out, below and above."""

    def __init__(self, service: LipsyncVideoService, *behind) -> None:
        self._down: asyncio.Queue = asyncio.Queue()
        self._up: asyncio.Queue = asyncio.Queue()
        self.seen: list = []
        source = QueuedFrameProcessor(queue=self._up, queue_direction=FrameDirection.UPSTREAM)
        sink = QueuedFrameProcessor(queue=self._down, queue_direction=FrameDirection.DOWNSTREAM)
        self._worker = PipelineWorker(
            Pipeline([source, service, *behind, sink]),
            cancel_on_idle_timeout=False,
            enable_rtvi=False,
            params=PipelineParams(enable_metrics=True, audio_out_sample_rate=RATE),
        )
        self._running: asyncio.Task | None = None

    async def __aenter__(self):
        started = asyncio.Event()

        @self._worker.event_handler("on_pipeline_started")
        async def _(_worker, _frame):
            started.set()

        runner = WorkerRunner()
        await runner.add_workers(self._worker)
        self._running = asyncio.create_task(runner.run())
        await started.wait()
        return self

    async def __aexit__(self, kind, *_):
        assert self._running is not None
        await self.put(CancelFrame() if kind else EndFrame())
        await asyncio.wait_for(self._running, PATIENCE)

    async def put(self, *frames) -> None:
        for frame in frames:
            await self._worker.queue_frame(frame)

    async def until(self, wanted) -> list:
        """What comes out up to the frame that is `wanted`."""
        since = len(self.seen)
        while True:
            self.seen.append(await self._down.get())
            if wanted(self.seen[-1]):
                return self.seen[since:]

    def errors(self) -> list[ErrorFrame]:
        above = [self._up.get_nowait() for _ in range(self._up.qsize())]
        return [frame for frame in above if isinstance(frame, ErrorFrame)]


def service(server_url: str, **options) -> LipsyncVideoService:
    made = LipsyncVideoService(avatar="ann", url=server_url, **options)
    made._options["retries"] = Retries(first=0.1, longest=0.3)
    return made


def run(coroutine):
    asyncio.run(asyncio.wait_for(coroutine, 2 * PATIENCE))


def stopped(context: str):
    return lambda frame: isinstance(frame, TTSStoppedFrame) and frame.context_id == context


def is_picture(frame) -> bool:
    return isinstance(frame, OutputImageRawFrame)


async def connected(stage: Stage) -> None:
    await stage.until(is_picture)


def is_audio_after(count: int):
    seen = []

    def wanted(frame) -> bool:
        seen.extend([frame] if isinstance(frame, TTSAudioRawFrame) else [])
        return len(seen) > count

    return wanted


def test_pipecats_own_test_run(server):
    said = bursts(1.5, RATE).tobytes()
    frames = [SleepFrame(1.0), TextFrame("before"), *utterance(said)]
    params = PipelineParams(audio_out_sample_rate=RATE)
    down, up = asyncio.run(run_test(service(server.url), frames_to_send=frames, pipeline_params=params))
    assert sound(down) == said, "all of it, though the end came at once"
    kinds = [type(frame) for frame in down if not is_picture(frame)]
    assert kinds[:2] == [TextFrame, TTSStartedFrame] and kinds[-1] is TTSStoppedFrame
    assert not [frame for frame in up if isinstance(frame, ErrorFrame)]
    assert pairs(down)
    first_audio = next(i for i, frame in enumerate(down) if isinstance(frame, TTSAudioRawFrame))
    assert any(map(is_picture, down[: first_audio - 1])), "idle before it speaks"


@pytest.mark.parametrize("format", ["rgb", "i420"])
def test_picture_and_sound_are_in_step(server, format):
    async def main():
        async with Stage(service(server.url, format=format)) as stage:
            await connected(stage)
            said, shown = bursts(2.0, RATE).tobytes(), []
            # A busy machine leaves pictures out.
            while len(shown) < PAIRS_ENOUGH:
                await stage.put(*utterance(said))
                frames = await stage.until(stopped("one"))
                assert sound(frames) == said
                shown += [(audio, mouth(image, format)) for image, audio in pairs(frames) if len(audio) == PIECE]
            shift = offset_in_frames(said, shown)
            assert abs(shift) <= 1, shift
            picture = next(filter(is_picture, frames))
            assert picture.size == SIZE and picture.format == format.upper() and picture.sync_with_audio
            assert all(f.context_id == "one" for f in frames if isinstance(f, TTSAudioRawFrame))
            # Then it is idle.
            await stage.until(is_picture)

    run(main())


def test_another_rate_and_stereo_are_resampled(server):
    async def main():
        async with Stage(service(server.url)) as stage:
            await connected(stage)
            mono = bursts(2.0, 16_000)
            stereo = mono.repeat(2).tobytes()
            await stage.put(*utterance(stereo, rate=16_000, channels=2))
            frames = await stage.until(stopped("one"))
            assert abs(len(sound(frames)) / 2 / RATE - 2.0) < 0.05
            assert {f.sample_rate for f in frames if isinstance(f, TTSAudioRawFrame)} == {RATE}

    run(main())


def test_the_end_of_an_utterance_is_held_and_the_next_does_not_overtake_it(server):
    async def main():
        async with Stage(service(server.url)) as stage:
            await connected(stage)
            first, second = bursts(1.0, RATE).tobytes(), bursts(1.2, RATE).tobytes()
            await stage.put(*utterance(first, "one"), *utterance(second, "two"))
            ones = await stage.until(stopped("one"))
            twos = await stage.until(stopped("two"))
            assert sound(ones) == first and sound(twos) == second
            assert [f.context_id for f in ones + twos if isinstance(f, TTSStartedFrame)] == ["one", "two"]
            assert {f.context_id for f in twos if isinstance(f, TTSAudioRawFrame)} == {"two"}

    run(main())


def test_an_interruption_takes_effect_within_a_frame_and_says_how_much_was_shown(server):
    async def main():
        avatar = service(server.url)
        cuts = []

        @avatar.event_handler("on_interrupted")
        async def _(_service, cut):
            cuts.append(cut)

        async with Stage(avatar) as stage:
            await connected(stage)
            await stage.put(*utterance(bursts(10.0, RATE).tobytes(), "long"))
            before = await stage.until(is_audio_after(20))
            await stage.put(InterruptionFrame())
            after = await stage.until(lambda frame: isinstance(frame, InterruptionFrame))
            said = bursts(0.8, RATE).tobytes()
            await stage.put(*utterance(said, "short"))
            late = await stage.until(stopped("short"))
            old = [f for f in late if isinstance(f, TTSAudioRawFrame) and f.context_id == "long"]
            assert len(old) <= 1, "one frame that was being handed over"
            assert sound(f for f in late if f not in old) == said
            assert not any(isinstance(f, TTSStoppedFrame) and f.context_id == "long" for f in late)
            (cut,) = cuts
            given = len(sound(before + after))
            assert abs(cut.shown_ms / 1000 - given / 2 / RATE) <= 0.041 and cut.utterance == 0, "one frame on the way"
            # Interrupting silence cuts nothing.
            await stage.put(InterruptionFrame())
            await stage.until(lambda frame: isinstance(frame, InterruptionFrame))
            assert len(cuts) == 1

    run(main())


def test_ttfb_is_measured(server):
    async def main():
        async with Stage(service(server.url)) as stage:
            await connected(stage)
            began = time.monotonic()
            await stage.put(*utterance(bursts(1.0, RATE).tobytes()))
            frames = await stage.until(stopped("one"))
            took = time.monotonic() - began
            data = [item for f in frames if isinstance(f, MetricsFrame) for item in f.data]
            (ttfb,) = [item for item in data if isinstance(item, TTFBMetricsData)]
            assert 0 < ttfb.value < took and ttfb.model == "ann"

    run(main())


def test_a_server_that_is_killed_and_restarted():
    server = Server()

    async def main():
        avatar = service(server.url)
        told = []

        @avatar.event_handler("on_connected")
        async def _(_service, started):
            told.append(started.fps)

        @avatar.event_handler("on_disconnected")
        async def _(_service, error):
            told.append(error)

        async with Stage(avatar) as stage:
            await connected(stage)
            said = bursts(4.0, RATE).tobytes()
            await stage.put(*utterance(said, "one"))
            await stage.until(is_audio_after(15))
            server.kill()
            await stage.until(stopped("one"))
            assert sound(stage.seen) == said, "no sample is lost"
            await stage.put(*utterance(said, "two"))
            frames = await stage.until(stopped("two"))
            assert sound(frames) == said and not any(map(is_picture, frames)), "the voice alone"
            (error,) = stage.errors()
            assert "voice goes on alone" in error.error and not error.fatal
            await asyncio.to_thread(server.start)
            await connected(stage)
            await stage.put(*utterance(said, "three"))
            frames = await stage.until(stopped("three"))
            assert sound(frames) == said and pairs(frames)
            assert not stage.errors()
        # Handlers run beside the pipeline.
        assert told[0] == 25 and told[-1] == 25 and len(told) == 3

    try:
        run(main())
    finally:
        server.close()


def test_without_a_server_the_pipeline_speaks_and_ends():
    async def main():
        async with Stage(service(f"127.0.0.1:{free_port()}")) as stage:
            said = bursts(0.5, RATE).tobytes()
            await stage.put(*utterance(said))
            frames = await stage.until(stopped("one"))
            assert sound(frames) == said

    run(main())


def test_a_cancelled_pipeline_frees_the_avatar(server):
    async def main():
        stage = Stage(service(server.url))
        await stage.__aenter__()
        await connected(stage)
        await stage.put(*utterance(bursts(10.0, RATE).tobytes()))
        await stage.until(is_audio_after(5))
        assert server.metric("lipsync_streams_open") == 1
        await stage.__aexit__(KeyboardInterrupt)
        for _ in range(int(PATIENCE / 0.05)):
            if server.metric("lipsync_streams_open") == 0:
                return
            await asyncio.sleep(0.05)
        raise AssertionError("the stream is still open")

    run(main())


class Transport(BaseOutputTransport):
    """A transport that plays at the speed of sound, and notes what is on the screen while it does."""

    def __init__(self) -> None:
        params = TransportParams(
            audio_out_enabled=True, video_out_enabled=True, video_out_width=SIZE[0], video_out_height=SIZE[1]
        )
        super().__init__(params)
        self.played: list[tuple[bytes, bytes | None]] = []

    async def start(self, frame: StartFrame) -> None:
        await super().start(frame)
        await self.set_transport_ready(frame)

    async def write_audio_frame(self, frame: OutputAudioRawFrame) -> bool:
        images = self._media_senders[None]._video_images
        self.played.append((frame.audio, next(images).image if images else None))
        await asyncio.sleep(len(frame.audio) / 2 / frame.sample_rate)
        return True


def test_through_an_output_transport_the_mouth_is_on_the_screen_with_its_sound(server):
    async def main():
        transport = Transport()
        async with Stage(service(server.url), transport) as stage:
            said, spoken = bursts(2.0, RATE).tobytes(), []
            while len(spoken) < PAIRS_ENOUGH:
                transport.played.clear()
                await stage.put(*utterance(said))
                frames = await stage.until(lambda frame: isinstance(frame, BotStoppedSpeakingFrame))
                assert any(isinstance(frame, BotStartedSpeakingFrame) for frame in frames)
                assert b"".join(audio for audio, _ in transport.played) == said
                # A picture that was left out leaves the one before it on the screen.
                changes = zip(transport.played, [(b"", None), *transport.played], strict=False)
                spoken += [(a, mouth(image, "rgb")) for (a, image), (_, before) in changes if image and image != before]
            shift = offset_in_frames(said, spoken)
            assert abs(shift) <= 1, shift

    run(main())


def test_a_format_that_no_transport_takes_is_refused():
    with pytest.raises(ValueError, match="rgb or i420"):
        LipsyncVideoService(avatar="ann", format="png")
