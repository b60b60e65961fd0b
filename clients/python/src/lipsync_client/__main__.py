"""`python -m lipsync_client talk sanders speech.wav out.mp4`: a film by way of a live stream."""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import subprocess
import sys
import wave

from . import AsyncClient, Format, Frame, LipsyncError


async def talk(url: str, token: str | None, model: str, speech: str, film: str) -> int:
    """Sends the speech of a WAV file and writes the frames that come back, with the speech, as a film."""
    with wave.open(speech, "rb") as wav:
        if wav.getsampwidth() != 2:
            sys.exit(f"{speech} has {8 * wav.getsampwidth()}-bit samples: make it 16-bit PCM")
        rate, channels = wav.getframerate(), wav.getnchannels()
        pcm = wav.readframes(wav.getnframes())
    async with (
        AsyncClient(url, token=token) as client,
        client.talk(model, sample_rate=rate, channels=channels, format=Format.I420, realtime=False) as session,
    ):
        about = session.started

        async def send() -> None:
            await session.push(pcm)
            await session.finish()

        sending = asyncio.create_task(send())
        encoder = subprocess.Popen(
            ["ffmpeg", "-y", "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "yuv420p"]
            + ["-s", f"{about.width}x{about.height}", "-r", str(about.fps), "-i", "-", "-i", speech]
            + ["-colorspace", "bt709", "-color_range", "tv", "-movflags", "+faststart", film],
            stdin=subprocess.PIPE,
        )
        assert encoder.stdin is not None
        frames = 0
        async for event in session:
            if isinstance(event, Frame):
                # The encoder is slower than the server: let it be waited for without stopping the stream.
                await asyncio.to_thread(encoder.stdin.write, event.image)
                frames += 1
        await sending
        encoder.stdin.close()
        if await asyncio.to_thread(encoder.wait):
            sys.exit(f"ffmpeg could not write {film}")
    return frames


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m lipsync_client", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    parsed = commands.add_parser("talk", help="make a film of a speech")
    parsed.add_argument("model", help="the avatar")
    parsed.add_argument("speech", help="a WAV file, 16-bit PCM")
    parsed.add_argument("film", help="the film to write, such as out.mp4")
    parsed.add_argument("--server", default=os.environ.get("LIPSYNC_SERVER", "localhost:50053"), help="host:port")
    parsed.add_argument("--token", default=os.environ.get("LIPSYNC_TOKEN"), help="where the server asks for one")
    args = parser.parse_args()
    if shutil.which("ffmpeg") is None:
        sys.exit("ffmpeg is not installed: it writes the film")
    try:
        frames = asyncio.run(talk(args.server, args.token, args.model, args.speech, args.film))
    except LipsyncError as error:
        fields = "".join(f"\n  {v.field}: {v.description}" for v in error.field_violations)
        sys.exit(f"{error.message}{fields}")
    except (OSError, wave.Error) as error:
        sys.exit(f"{args.speech}: {error}")
    print(f"{args.film}: {frames} frames")


if __name__ == "__main__":
    main()
