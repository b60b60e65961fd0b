"""The example runs as it stands."""

import subprocess
import sys
from pathlib import Path


def test_the_scripted_agent_makes_a_film(server, tmp_path):
    example = Path(__file__).parents[1] / "examples/scripted_agent.py"
    film = tmp_path / "talk.mp4"
    command = [sys.executable, str(example), str(film), "--server", server.url, "--avatar", "ann"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    probe = ["ffprobe", "-v", "error", "-show_entries", "stream=codec_type,duration", "-of", "csv=p=0", str(film)]
    streams = subprocess.run(probe, capture_output=True, text=True, check=True).stdout
    seconds = dict(line.split(",")[:2] for line in streams.split())
    # The two WAVs take 6.5 s.
    assert abs(float(seconds["video"]) - 6.5) < 0.2 and abs(float(seconds["audio"]) - 6.5) < 0.2
