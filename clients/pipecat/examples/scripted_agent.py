"""An agent without any key: it says two bundled WAVs, and its avatar is filmed.

    lipsync demo                                                   # in another terminal
    python clients/pipecat/examples/scripted_agent.py talk.mp4

In a real agent a TTS stands where `Script` does, and a transport's output where `Film` does.
"""

import argparse
import asyncio
import shutil
import subprocess
import sys
import tempfile
import wave
from pathlib import Path

from pipecat.frames.frames import (
    EndFrame,
    Frame,
    OutputImageRawFrame,
    TTSAudioRawFrame,
    TTSStartedFrame,
    TTSStoppedFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.workers.runner import WorkerRunner

from pipecat_lipsync import LipsyncVideoService

SPEECH = Path(__file__).parents[2] / "speech"
FPS = 25


def script() -> list[Frame]:
    """What a TTS would give out: two utterances."""
    frames: list[Frame] = []
    for path in (SPEECH / "one.wav", SPEECH / "two.wav"):
        with wave.open(str(path)) as wav:
            rate, channels = wav.getframerate(), wav.getnchannels()
            frames.append(TTSStartedFrame(context_id=path.stem))
            while pcm := wav.readframes(rate // 10):
                frames.append(TTSAudioRawFrame(pcm, rate, channels, context_id=path.stem))
            frames.append(TTSStoppedFrame(context_id=path.stem))
    return frames


class Film(FrameProcessor):
    """Writes pictures and their audio, as they come, into raw files that ffmpeg makes a film of."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.size = (0, 0)
        self.pictures = 0
        self._picture = b""
        self._owed = 0.0
        self._video = open(folder / "video", "wb")  # noqa: SIM115
        self._audio = open(folder / "audio", "wb")  # noqa: SIM115

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, OutputImageRawFrame):
            self.size, self._picture = frame.size, frame.image
        elif isinstance(frame, TTSAudioRawFrame):
            # A picture for as long as its sound.
            self._audio.write(frame.audio)
            self._owed += len(frame.audio) / 2 / frame.sample_rate * FPS
            while self._owed >= 0.5 and self._picture:
                self._video.write(self._picture)
                self.pictures += 1
                self._owed -= 1
        await self.push_frame(frame, direction)

    def close(self) -> None:
        self._video.close()
        self._audio.close()


async def main(url: str, avatar: str, film: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        sink = Film(Path(folder))
        service = LipsyncVideoService(avatar=avatar, url=url)
        worker = PipelineWorker(Pipeline([service, sink]), params=PipelineParams(audio_out_sample_rate=24_000))

        @service.event_handler("on_connected")
        async def speak(_service: object, _started: object) -> None:
            await worker.queue_frames([*script(), EndFrame()])

        @service.event_handler("on_disconnected")
        async def give_up(_service: object, error: Exception) -> None:
            print(f"{error}: run `lipsync demo` in another terminal", file=sys.stderr)
            await worker.queue_frame(EndFrame())

        runner = WorkerRunner()
        await runner.add_workers(worker)
        await runner.run()
        sink.close()
        if not sink.pictures:
            sys.exit("nothing was said")
        size = f"{sink.size[0]}x{sink.size[1]}"
        subprocess.run(
            ["ffmpeg", "-y", "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", size, "-r", str(FPS)]
            + ["-i", f"{folder}/video", "-f", "s16le", "-ar", "24000", "-ac", "1", "-i", f"{folder}/audio"]
            + ["-pix_fmt", "yuv420p", film],
            check=True,
        )
        print(f"{film}: {sink.pictures} pictures of {size}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("film", nargs="?", default="talk.mp4")
    parser.add_argument("--server", default="localhost:50053")
    parser.add_argument("--avatar", default="sanders")
    args = parser.parse_args()
    if shutil.which("ffmpeg") is None:
        sys.exit("ffmpeg is not installed: it writes the film")
    asyncio.run(main(args.server, args.avatar, args.film))
