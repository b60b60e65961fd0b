"""The committed stubs: made from the proto file as it is, and loadable wherever an agent lives."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from serve import ROOT

PACKAGE = Path(__file__).parents[1]
#: The runtimes of Pipecat and LiveKit, and the oldest one.
RUNTIMES = ["5.29.5", "6.33.6", "7.36.2"]
TOOLS = ["grpcio-tools==1.71.2", "grpcio==1.71.2", "protobuf==5.29.5", "setuptools<81"]


def installed(name: str, *packages: str) -> Path:
    """A folder with these packages and nothing else."""
    folder = ROOT / "target/client-packages" / f"{name}-py{sys.version_info.major}{sys.version_info.minor}"
    if not (folder / "complete").exists():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target", folder]
        subprocess.run([*command, "--upgrade", *packages], check=True)
        (folder / "complete").touch()
    return folder


def python(*folders: Path, arguments: list[str]) -> str:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders))}
    done = subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_they_load_and_work_under(runtime):
    folder = installed(
        f"protobuf-{runtime}", f"protobuf=={runtime}", "grpcio>=1.71.2", "numpy", "googleapis-common-protos"
    )
    code = (
        "import google.protobuf, lipsync_client as lc;"
        "from lipsync_client.pb import lipsync_pb2 as pb, lipsync_pb2_grpc;"
        "request = lc.TalkOptions('ann', lookahead=2).request();"
        "assert pb.TalkRequest.FromString(request.SerializeToString()).start.lookahead == 2;"
        "print(google.protobuf.__version__)"
    )
    assert python(folder, PACKAGE / "src", arguments=["-W", "error", "-c", code]).strip() == runtime


def test_they_are_what_the_proto_file_gives(tmp_path):
    tools = installed("grpcio-tools-1.71.2", *TOOLS)
    code = "import sys, pathlib, generate; generate.generate(pathlib.Path(sys.argv[1]))"
    python(tools, PACKAGE, arguments=["-c", code, str(tmp_path)])
    made = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert set(made) == {"lipsync_pb2.py", "lipsync_pb2.pyi", "lipsync_pb2_grpc.py"}
    for name, text in made.items():
        assert text == (PACKAGE / "src/lipsync_client/pb" / name).read_text(), f"{name} is old: run generate.py"
