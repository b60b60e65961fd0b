"""The examples of docs/clients.md, run as they stand but for the address and the avatar."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from serve import ROOT, bursts

NODE_PACKAGES = ["@grpc/grpc-js@1.14.7", "@grpc/proto-loader@0.8.1"]


def examples(language: str) -> list[str]:
    """The blocks of a language."""
    blocks = (ROOT / "docs/clients.md").read_text().split("```")[1::2]
    return [block.split("\n", 1)[1] for block in blocks if block.startswith(language + "\n")]


@pytest.fixture
def place(server, tmp_path, monkeypatch):
    """A folder with what an example needs; writes one there."""
    shutil.copy(ROOT / "proto/lipsync.proto", tmp_path)
    (tmp_path / "speech.pcm").write_bytes(bursts(1.0, 16_000).tobytes())
    monkeypatch.chdir(tmp_path)

    def write(name: str, example: str) -> str:
        assert '"localhost:50053"' in example and '"sanders"' in example
        text = example.replace('"localhost:50053"', f'"{server.url}"').replace('"sanders"', '"ann"')
        (tmp_path / name).write_text(text)
        return name

    return write


def frames_of(*command: str, **environment: str) -> None:
    """Runs an example; it says how many frames it wrote."""
    done = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    count = int(done.stdout.split()[0])
    assert done.stdout == f"{count} frames\n" and 20 <= count <= 30
    assert all(Path(f"{number}.jpg").read_bytes().startswith(b"\xff\xd8") for number in range(count))


def test_python(place):
    (example,) = examples("python")
    frames_of(sys.executable, place("example.py", example))


def test_node(place):
    packages = ROOT / "target/client-packages/node"
    if not (packages / "complete").exists():
        install = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(packages), *NODE_PACKAGES]
        subprocess.run(install, check=True)
        (packages / "complete").touch()
    (example,) = examples("javascript")
    frames_of("node", place("example.js", example), NODE_PATH=str(packages / "node_modules"))


def test_go(place):
    if not shutil.which("protoc-gen-go-grpc"):
        assert "go" not in os.environ.get("LIPSYNC_REQUIRE", "").split(","), (
            "Debian's packages for Go are not installed"
        )
        pytest.skip("Debian's packages for Go are not installed")
    (example,) = examples("go")
    place("main.go", example)
    (commands,) = [block for block in examples("sh") if "go run" in block]
    Path("src").mkdir()
    cache = str(ROOT / "target/client-packages/go")
    frames_of("bash", "-euc", commands, GOCACHE=cache)


def test_what_is_not_run_says_so():
    page = (ROOT / "docs/clients.md").read_text()
    for block in page.split("\n## ")[1:]:
        title = block.split("\n", 1)[0]
        assert ("not run" in title) != (title in ("Python", "Node", "Go")), title
