"""`python -m lipsync_client`."""

import shutil
import subprocess
import sys

from serve import bursts, free_port, write_wav


def command(*arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "lipsync_client", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_film_is_as_long_as_its_speech(server, tmp_path):
    assert shutil.which("ffprobe"), "ffmpeg is not installed"
    speech = write_wav(tmp_path / "speech.wav", bursts(2.0, 22_050), 22_050)
    film = tmp_path / "out.mp4"
    done = command("talk", "ann", speech, film, "--server", server.url)
    assert done.returncode == 0, done.stderr
    entries = "stream=codec_type,nb_read_frames,color_space,color_range,width"
    probe = ["ffprobe", "-v", "error", "-count_frames", "-show_entries", entries, "-of", "compact=p=0", str(film)]
    streams = subprocess.run(probe, capture_output=True, text=True, check=True).stdout
    picture = next(line for line in streams.splitlines() if "video" in line)
    assert "width=96" in picture and "color_space=bt709" in picture and "color_range=tv" in picture
    frames = int(picture.split("nb_read_frames=")[1])
    assert 48 <= frames <= 53 and f"{frames} frames" in done.stdout
    assert "codec_type=audio" in streams


def test_what_goes_wrong_is_said_in_a_line(server, tmp_path):
    speech = write_wav(tmp_path / "speech.wav", bursts(0.2, 16_000), 16_000)
    for arguments, said in (
        (("nobody", speech, "out.mp4", "--server", server.url), "nobody"),
        (("ann", speech, "out.mp4", "--server", f"127.0.0.1:{free_port()}"), "127.0.0.1"),
        (("ann", tmp_path / "none.wav", "out.mp4", "--server", server.url), "none.wav"),
        (("ann", __file__, "out.mp4", "--server", server.url), "test_command.py"),
    ):
        done = command("talk", *arguments)
        assert done.returncode == 1 and said in done.stderr and "Traceback" not in done.stderr, done.stderr
