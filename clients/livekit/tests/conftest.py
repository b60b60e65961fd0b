"""A server for the tests of this folder."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "testing"))

from serve import Server


@pytest.fixture(scope="session")
def server():
    running = Server()
    yield running
    running.close()
