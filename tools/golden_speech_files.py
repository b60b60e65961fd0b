#!/usr/bin/env python3
"""Writes tests/golden/speech: the same second of speech in every format that is read, and what ffmpeg decodes of each.

Needs ffmpeg with libopus, libvorbis, libmp3lame, libtwolame or mp2, and numpy. Run from the repository's root:

    python3 tools/golden_speech_files.py src/demo/assets/speech.flac

`index.json` holds the rate, channels and frames of each file by ffmpeg's own decoders (libopus for Opus); `NAME.ref` is
its decode at 8 kHz, mono, 16 bits, raw.
"""

import json
import pathlib
import subprocess
import sys

OUT = pathlib.Path("tests/golden/speech")
SECONDS = "0.9"

# Name, and how ffmpeg writes it. Rates and channel counts vary on purpose.
FILES = {
    "pcm_s24.wav": "-ar 22050 -ac 1 -c:a pcm_s24le",
    "pcm_u8.wav": "-ar 8000 -ac 1 -c:a pcm_u8",
    "alaw.wav": "-ar 8000 -ac 1 -c:a pcm_alaw",
    "mulaw.wav": "-ar 8000 -ac 1 -c:a pcm_mulaw",
    "adpcm_ms.wav": "-ar 16000 -ac 1 -c:a adpcm_ms",
    "adpcm_ima.wav": "-ar 16000 -ac 1 -c:a adpcm_ima_wav",
    "mp3_in.wav": "-ar 16000 -ac 1 -c:a libmp3lame -b:a 32k",
    "rf64.wav": "-ar 16000 -ac 1 -c:a pcm_s16le -rf64 always",
    "piped.wav": "-ar 16000 -ac 1 -c:a pcm_s16le -f wav pipe:1",
    "plain.aiff": "-ar 16000 -ac 1 -c:a pcm_s16be",
    "sowt.aifc": "-ar 16000 -ac 1 -c:a pcm_s16le -f aiff",
    "alaw.aifc": "-ar 8000 -ac 1 -c:a pcm_alaw -f aiff",
    "mulaw.caf": "-ar 8000 -ac 1 -c:a pcm_mulaw",
    "alac.caf": "-ar 16000 -ac 1 -c:a alac",
    "pcm.caf": "-ar 16000 -ac 1 -c:a pcm_s16le",
    "plain.flac": "-ar 16000 -ac 1 -c:a flac",
    "flac.ogg": "-ar 16000 -ac 1 -c:a flac -f ogg",
    "flac.mkv": "-ar 16000 -ac 1 -c:a flac",
    "mono.mp3": "-ar 24000 -ac 1 -c:a libmp3lame -b:a 32k",
    "stereo_vbr.mp3": "-ar 44100 -ac 2 -c:a libmp3lame -q:a 6",
    "plain_frames.mp3": "-ar 16000 -ac 1 -c:a libmp3lame -b:a 24k -write_xing 0 -id3v2_version 0",
    "layer2.mp2": "-ar 24000 -ac 1 -c:a mp2 -b:a 32k",
    "vorbis.ogg": "-ar 22050 -ac 1 -c:a libvorbis -q:a 2",
    "vorbis.webm": "-ar 22050 -ac 1 -c:a libvorbis -q:a 2",
    "vorbis.mkv": "-ar 44100 -ac 2 -c:a libvorbis -q:a 1",
    "opus.ogg": "-ac 1 -c:a libopus -b:a 16k",
    "opus_stereo.ogg": "-ac 2 -c:a libopus -b:a 32k -application audio",
    "opus_51.ogg": "-ac 6 -c:a libopus -b:a 64k -mapping_family 1",
    "opus.webm": "-ac 1 -c:a libopus -b:a 16k",
    "opus_live.webm": "-ac 1 -c:a libopus -b:a 16k -f webm -live 1",
    "opus.mp4": "-ac 1 -c:a libopus -b:a 16k",
    "aac.m4a": "-ar 24000 -ac 1 -c:a aac -b:a 32k",
    "aac.aac": "-ar 24000 -ac 1 -c:a aac -b:a 32k -f adts",
    "aac_51.m4a": "-ar 48000 -ac 6 -c:a aac -b:a 96k",
    "aac_fragmented.mp4": "-ar 24000 -ac 1 -c:a aac -b:a 32k -movflags frag_keyframe+empty_moov",
    "aac.mkv": "-ar 24000 -ac 1 -c:a aac -b:a 32k",
    "alac.m4a": "-ar 16000 -ac 1 -c:a alac",
    "pcm.mov": "-ar 16000 -ac 1 -c:a pcm_s16le",
    "mp3.mp4": "-ar 24000 -ac 1 -c:a libmp3lame -b:a 32k",
}

# Films: the same, with a picture track.
FILMS = {
    "film.mp4": "-ar 24000 -ac 1 -c:a aac -b:a 32k -c:v libx264 -pix_fmt yuv420p",
    "film.mov": "-ar 24000 -ac 1 -c:a aac -b:a 32k -c:v libx264 -pix_fmt yuv420p",
    "film.mkv": "-ac 1 -c:a libopus -b:a 16k -c:v libx264 -pix_fmt yuv420p",
    "film.webm": "-ac 1 -c:a libopus -b:a 16k -c:v libvpx -b:v 20k",
}

# What is refused, with the words for it.
REFUSED = {
    "transport.ts": "-ar 24000 -ac 1 -c:a aac -b:a 32k -f mpegts",
    "ac3.mkv": "-ar 32000 -ac 1 -c:a ac3 -b:a 32k",
    "ac3.mp4": "-ar 32000 -ac 1 -c:a ac3 -b:a 32k",
    "wma.asf": "-ar 16000 -ac 1 -c:a wmav2 -b:a 24k",
    "sun.au": "-ar 8000 -ac 1 -c:a pcm_mulaw",
    "film.avi": "-ar 16000 -ac 1 -c:a pcm_s16le",
    "wavpack.wv": "-ar 16000 -ac 1 -c:a wavpack",
    "speex.ogg": "-ar 16000 -ac 1 -c:a libspeex",
    "g722.wav": "-ar 16000 -ac 1 -c:a g722",
}


def ffmpeg(*arguments):
    done = subprocess.run(
        ["ffmpeg", "-v", "error", "-y", *arguments], capture_output=True, check=False
    )
    if done.returncode != 0:
        raise SystemExit(f"ffmpeg {arguments}: {done.stderr.decode()}")
    return done.stdout


def stream(path):
    said = subprocess.run(
        ["ffprobe", "-v", "quiet", "-of", "json", "-select_streams", "a:0", "-show_streams", path],
        capture_output=True,
        check=True,
    )
    return json.loads(said.stdout)["streams"][0]


def main():
    source = sys.argv[1]
    OUT.mkdir(parents=True, exist_ok=True)
    speech = ["-ss", "0.1", "-t", SECONDS, "-i", source]
    picture = ["-f", "lavfi", "-t", SECONDS, "-i", "color=c=gray:s=16x16:r=5"]
    index = {}
    for name, how in {**FILES, **FILMS, **REFUSED}.items():
        path = OUT / name
        plain = ["-map_metadata", "-1", "-fflags", "+bitexact", "-flags:a", "+bitexact"]
        if name in FILMS or name == "film.avi":
            ffmpeg(*speech, *picture, "-map", "0:a", "-map", "1:v", *plain, *how.split(), str(path))
        elif how.endswith("pipe:1"):
            path.write_bytes(ffmpeg(*speech, *plain, *how.split()))
        else:
            ffmpeg(*speech, *plain, *how.split(), str(path))
        if name in REFUSED:
            continue
        facts = stream(path)
        # ffmpeg 5 decodes Opus in MP4 askew; the same packets in OGG are its reference.
        if name == "opus.mp4":
            path = OUT / "opus.ogg"
        decoder = ["-c:a", "libopus"] if facts["codec_name"] == "opus" else []
        raw = ffmpeg(*decoder, "-i", str(path), "-map", "0:a:0", "-f", "s16le", "-")
        channels = facts["channels"]
        index[name] = {
            "rate_hz": int(facts["sample_rate"]),
            "channels": channels,
            "frames": len(raw) // 2 // channels,
        }
        # The mean of the channels, as the networks hear it.
        mean = "pan=mono|c0=" + "+".join(f"{1 / channels:.9f}*c{c}" for c in range(channels))
        mono = ffmpeg(*decoder, "-i", str(path), "-map", "0:a:0", "-af", f"{mean},aresample=8000:filter_size=256:cutoff=0.95",
                      "-f", "s16le", "-")
        (OUT / f"{name}.ref").write_bytes(mono)
    (OUT / "index.json").write_text(json.dumps(index, indent=1) + "\n")


if __name__ == "__main__":
    main()
