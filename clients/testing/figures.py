"""The figures of docs/integrations.md: `python clients/testing/figures.py avatar|pipecat|livekit`.

A server with a 1280x720 avatar whose network costs next to nothing runs beside it, so that what is measured is the
client: how long from the first sound pushed to the first picture with sound, and the CPU of this process.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time

from lipsync_client import AsyncClient, Avatar, AvatarOptions, Picture, Spoken
from serve import Server, bursts

RATE = 24_000
SIZE, RECT = (1280, 720), (480, 160, 800, 480)
ROUNDS = 10
SECONDS = 10.0


class Cpu:
    """CPU of the process and of its main thread, in percent of a core."""

    def __enter__(self):
        self._began = (time.perf_counter(), time.process_time(), time.thread_time())
        return self

    def __exit__(self, *_):
        ends = (time.perf_counter(), time.process_time(), time.thread_time())
        wall, process, thread = (end - begin for begin, end in zip(self._began, ends, strict=True))
        self.process, self.thread = 100 * process / wall, 100 * thread / wall


def report(what: str, times: list[float]) -> None:
    ordered = sorted(1000 * one for one in times)
    median = statistics.median(ordered)
    print(f"{what}: first picture after {median:.0f} ms ({ordered[0]:.0f} to {ordered[-1]:.0f})", flush=True)


class OfAvatar:
    """`lipsync_client.Avatar`, which both plug-ins are made of."""

    def __init__(self, url: str, format: str) -> None:
        self._client = AsyncClient(url)
        self.avatar = Avatar(self._client, AvatarOptions(model="ann", sample_rate=RATE, format=format))
        self.pictures = 0
        self.first = asyncio.Event()
        self.ended = asyncio.Event()

    async def open(self) -> None:
        await self.avatar.open()
        self._task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for output in self.avatar:
            if isinstance(output, Picture):
                self.pictures += 1
                if output.speech:
                    self.first.set()
            elif isinstance(output, Spoken):
                self.ended.set()

    async def say(self, pcm: bytes) -> None:
        for at in range(0, len(pcm), RATE // 5):
            await self.avatar.push(pcm[at : at + RATE // 5])
        self.avatar.end_of_speech()

    async def close(self) -> None:
        await self.avatar.aclose()
        await self._client.close()


class OfPipecat:
    """`LipsyncVideoService` in a pipeline that ends in a sink."""

    def __init__(self, url: str, format: str) -> None:
        from pipecat.frames.frames import OutputImageRawFrame, TTSAudioRawFrame, TTSStoppedFrame
        from pipecat.pipeline.pipeline import Pipeline
        from pipecat.pipeline.worker import PipelineParams, PipelineWorker
        from pipecat.processors.frame_processor import FrameProcessor

        from pipecat_lipsync import LipsyncVideoService

        self.pictures = 0
        self.first = asyncio.Event()
        self.ended = asyncio.Event()
        self._there = asyncio.Event()
        outer = self

        class Sink(FrameProcessor):
            async def process_frame(self, frame, direction):
                await super().process_frame(frame, direction)
                if isinstance(frame, OutputImageRawFrame):
                    outer.pictures += 1
                    outer._there.set()
                elif isinstance(frame, TTSAudioRawFrame):
                    outer.first.set()
                elif isinstance(frame, TTSStoppedFrame):
                    outer.ended.set()
                await self.push_frame(frame, direction)

        service = LipsyncVideoService(avatar="ann", url=url, format=format)
        self.worker = PipelineWorker(
            Pipeline([service, Sink()]),
            cancel_on_idle_timeout=False,
            enable_rtvi=False,
            params=PipelineParams(audio_out_sample_rate=RATE),
        )

    async def open(self) -> None:
        from pipecat.workers.runner import WorkerRunner

        runner = WorkerRunner()
        await runner.add_workers(self.worker)
        self._task = asyncio.create_task(runner.run())
        await self._there.wait()

    async def say(self, pcm: bytes) -> None:
        from pipecat.frames.frames import TTSAudioRawFrame, TTSStartedFrame, TTSStoppedFrame

        await self.worker.queue_frame(TTSStartedFrame())
        for at in range(0, len(pcm), RATE // 5):
            await self.worker.queue_frame(TTSAudioRawFrame(pcm[at : at + RATE // 5], RATE, 1))
        await self.worker.queue_frame(TTSStoppedFrame())

    async def close(self) -> None:
        from pipecat.frames.frames import CancelFrame

        await self.worker.queue_frame(CancelFrame())
        await self._task


class OfLiveKit:
    """`LipsyncGenerator` under LiveKit's AvatarRunner, up to libwebrtc's sources: nothing is published or encoded."""

    def __init__(self, url: str, format: str) -> None:
        self._url, self._format = url, format
        self.pictures = 0
        self.first = asyncio.Event()
        self.ended = asyncio.Event()

    async def open(self) -> None:
        import sys
        from pathlib import Path

        sys.path.insert(0, str(Path(__file__).parents[1] / "livekit/tests"))
        from rooms import FakeRoom
        from test_avatar import Agent

        from livekit import rtc
        from livekit.plugins.lipsync import AvatarSession

        picture, sound = rtc.VideoSource.capture_frame, rtc.AudioSource.capture_frame

        def capture_picture(source, frame, **options):
            self.pictures += 1
            return picture(source, frame, **options)

        async def capture_sound(source, frame):
            self.first.set()
            return await sound(source, frame)

        rtc.VideoSource.capture_frame, rtc.AudioSource.capture_frame = capture_picture, capture_sound
        self.agent = Agent()
        self.session = AvatarSession(avatar="ann", url=self._url, format=self._format, sample_rate=RATE)
        await self.session.start(self.agent, FakeRoom("agent"))
        self.agent.sink.on("playback_finished", lambda _: self.ended.set())

    async def say(self, pcm: bytes) -> None:
        await self.agent.say(pcm)

    async def close(self) -> None:
        await self.session.aclose()


KINDS = {"avatar": OfAvatar, "pipecat": OfPipecat, "livekit": OfLiveKit}


async def first_picture(kind, url: str, format: str) -> None:
    one = kind(url, format)
    await one.open()
    await asyncio.sleep(1.0)
    times = []
    for _ in range(ROUNDS):
        one.first.clear()
        one.ended.clear()
        began = time.perf_counter()
        await one.say(bursts(1.0, RATE).tobytes())
        await one.first.wait()
        times.append(time.perf_counter() - began)
        await one.ended.wait()
        await asyncio.sleep(0.1)
    report(f"{kind.__name__} {format}", times)
    await one.close()


async def cpu(kind, url: str, format: str, sessions: int, speaking: bool) -> None:
    those = [kind(url, format) for _ in range(sessions)]
    await asyncio.gather(*(one.open() for one in those))
    await asyncio.sleep(1.0)
    before = sum(one.pictures for one in those)
    if speaking:
        for one in those:
            await one.say(bursts(SECONDS, RATE).tobytes())
    with Cpu() as used:
        await asyncio.sleep(SECONDS)
    rate = (sum(one.pictures for one in those) - before) / SECONDS / sessions
    print(
        f"{kind.__name__} {format}, {sessions} {'speaking' if speaking else 'idle'}: {rate:.1f} pictures/s each, "
        f"{used.process / sessions:.1f} % of a core each, of which the main thread {used.thread / sessions:.1f} %",
        flush=True,
    )
    await asyncio.gather(*(one.close() for one in those))


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--sessions", type=int, nargs="*", default=[1, 4, 8])
    args = parser.parse_args()
    kind = KINDS[args.kind]
    server = Server(backend="auto", size=SIZE, rect=RECT)
    try:
        await first_picture(kind, server.url, "i420")
        for format in ("i420", "rgb"):
            await cpu(kind, server.url, format, 1, True)
        if kind is OfAvatar:
            for sessions in args.sessions:
                await cpu(kind, server.url, "i420", sessions, False)
    finally:
        server.close()


if __name__ == "__main__":
    asyncio.run(main())
