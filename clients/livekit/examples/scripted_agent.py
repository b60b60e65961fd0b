"""An agent without any key and without a room: it says two bundled WAVs, and its avatar is filmed.

    lipsync demo                                                   # in another terminal
    python clients/livekit/examples/scripted_agent.py talk.mp4

It does what LiveKit's AvatarRunner does with the plug-in's generator: speech in, frames out. In a real agent,
`await AvatarSession(avatar="sanders").start(session, ctx.room)` stands for all of this.
"""

import argparse
import asyncio
import shutil
import subprocess
import sys
import tempfile
import wave
from pathlib import Path

from lipsync_client import AsyncClient, Avatar, AvatarOptions, LipsyncError
from livekit.agents.voice.avatar import AudioSegmentEnd

from livekit import rtc
from livekit.plugins.lipsync import LipsyncGenerator

SPEECH = Path(__file__).parents[2] / "speech"


async def speak(generator: LipsyncGenerator) -> None:
    """What an agent's TTS would give out: two segments."""
    for name in ("one.wav", "two.wav"):
        with wave.open(str(SPEECH / name)) as wav:
            rate, channels = wav.getframerate(), wav.getnchannels()
            while pcm := wav.readframes(rate // 10):
                await generator.push_audio(rtc.AudioFrame(pcm, rate, channels, len(pcm) // 2 // channels))
        await generator.push_audio(AudioSegmentEnd())


async def record(generator: LipsyncGenerator, folder: Path) -> int:
    """Writes the pictures and the sound of two segments; gives how many pictures there are."""
    pictures, owed, picture, ended = 0, 0.0, b"", 0
    fps = generator.options.video_fps
    with open(folder / "video", "wb") as video, open(folder / "audio", "wb") as audio:
        async for item in generator:
            if isinstance(item, rtc.VideoFrame):
                picture = bytes(item.data)
            elif isinstance(item, rtc.AudioFrame):
                # A picture for as long as its sound.
                audio.write(bytes(item.data))
                owed += item.duration * fps
                while owed >= 0.5 and picture:
                    video.write(picture)
                    pictures, owed = pictures + 1, owed - 1
            else:
                ended += 1
                if ended == 2:
                    break
    return pictures


async def main(url: str, name: str, film: str) -> None:
    async with AsyncClient(url) as client:
        avatar = Avatar(client, AvatarOptions(model=name))
        generator = LipsyncGenerator(avatar, await avatar.open())
        about = generator.options
        with tempfile.TemporaryDirectory() as folder:
            speaking = asyncio.create_task(speak(generator))
            pictures = await record(generator, Path(folder))
            await speaking
            await generator.aclose()
            size = f"{about.video_width}x{about.video_height}"
            subprocess.run(
                ["ffmpeg", "-y", "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", size]
                + ["-r", str(about.video_fps), "-i", f"{folder}/video"]
                + ["-f", "s16le", "-ar", str(about.audio_sample_rate), "-ac", "1", "-i", f"{folder}/audio"]
                + ["-colorspace", "bt709", "-color_range", "tv", film],
                check=True,
            )
        print(f"{film}: {pictures} pictures of {size}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("film", nargs="?", default="talk.mp4")
    parser.add_argument("--server", default="localhost:50053")
    parser.add_argument("--avatar", default="sanders")
    args = parser.parse_args()
    if shutil.which("ffmpeg") is None:
        sys.exit("ffmpeg is not installed: it writes the film")
    try:
        asyncio.run(main(args.server, args.avatar, args.film))
    except LipsyncError as error:
        sys.exit(f"{error}: run `lipsync demo` in another terminal")
