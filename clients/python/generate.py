"""Makes the stubs in src/lipsync_client/pb from proto/lipsync.proto.

    pip install grpcio-tools==1.71.2 && python generate.py

That release carries protoc 5.29: stubs of a newer one refuse to load under an older protobuf, and Pipecat needs a
protobuf below 7 where LiveKit needs 7. Keep it.
"""

import shutil
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
PROTO = HERE / "../../proto/lipsync.proto"
PACKAGE = Path("lipsync_client/pb")


def generate(target: Path) -> None:
    """Writes the stubs into `target`."""
    from grpc_tools import protoc

    with tempfile.TemporaryDirectory() as folder:
        # protoc names modules after the file's place, so it is given the place the package has.
        source, made = Path(folder) / "source", Path(folder) / "made"
        (source / PACKAGE).mkdir(parents=True)
        made.mkdir()
        shutil.copy(PROTO, source / PACKAGE)
        arguments = [f"--{kind}_out={made}" for kind in ("python", "pyi", "grpc_python")]
        status = protoc.main(["protoc", f"-I{source}", *arguments, str(source / PACKAGE / "lipsync.proto")])
        if status:
            sys.exit(status)
        for stub in (made / PACKAGE).iterdir():
            shutil.copy(stub, target / stub.name)


if __name__ == "__main__":
    generate(HERE / "src" / PACKAGE)
