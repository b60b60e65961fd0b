#!/usr/bin/env python3
"""A second implementation of the client: grpcio, with stubs generated here from the proto file named.

    client.py PROTO ADDRESS MODEL WIDTH HEIGHT

PROTO is the published file, or one with the original's messages only: both must work. Exits with 77 if a package is
missing, as test runners take for "skipped".
"""

import importlib
import pathlib
import struct
import sys
import tempfile
import zlib

try:
    import grpc
    import numpy as np
    from grpc_tools import protoc
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

AUDIO = 32 * 16 * 16
VISUAL = 6 * 320 * 320


def stubs(proto):
    """The generated modules of `proto`."""
    out = tempfile.mkdtemp()
    path = pathlib.Path(proto)
    arguments = ["protoc", f"-I{path.parent}", f"--python_out={out}", f"--grpc_python_out={out}", path.name]
    assert protoc.main(arguments) == 0
    sys.path.insert(0, out)
    return importlib.import_module(f"{path.stem}_pb2"), importlib.import_module(f"{path.stem}_pb2_grpc")


def png_pixels(data):
    """Checks a PNG's structure chunk by chunk and gives its size and its filtered rows."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    at, size, deflated = 8, None, b""
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        body = data[at + 8 : at + 8 + length]
        (crc,) = struct.unpack(">I", data[at + 8 + length : at + 12 + length])
        assert crc == zlib.crc32(kind + body), kind
        if kind == b"IHDR":
            width, height, depth, colour = struct.unpack(">IIBB", body[:10])
            assert (depth, colour) == (8, 2), "8-bit RGB"
            size = (width, height)
        elif kind == b"IDAT":
            deflated += body
        at += 12 + length
    assert kind == b"IEND"
    rows = zlib.decompress(deflated)
    assert len(rows) == size[1] * (1 + 3 * size[0])
    return size, rows


def original(pb, stub, model, size):
    """What the original's test client does, with its fields only."""
    health = stub.Health(pb.HealthRequest())
    assert health.healthy and health.version and health.max_models >= 1
    models = stub.ListModels(pb.ListModelsRequest()).models
    assert model in [m.model_id for m in models]
    assert all(m.background_dir and m.crop_rects_path for m in models), "this machine is told paths"

    loaded = stub.LoadModel(pb.LoadModelRequest(model_id=model))
    assert loaded.success and not loaded.error, loaded.error
    assert loaded.stats.memory_bytes > 0 and loaded.stats.loaded_unix_ms > 1.7e12

    rng = np.random.default_rng(5)
    batch = 5
    visual = rng.random(batch * VISUAL, dtype=np.float32)
    audio = rng.random(AUDIO, dtype=np.float32)
    request = pb.CompositeBatchRequest(
        model_id=model, visual_frames=visual, audio_features=audio, batch_size=batch, start_frame_idx=1
    )
    first = stub.InferBatchComposite(request)
    assert first.success and not first.error, first.error
    assert len(first.composited_frames) == batch
    assert not first.model_loaded
    assert 0 < first.inference_time_ms and 0 < first.composite_time_ms
    assert first.total_time_ms > 0
    for frame in first.composited_frames:
        assert png_pixels(frame)[0] == size
    again = stub.InferBatchComposite(request)
    assert list(again.composited_frames) == list(first.composited_frames), "the same again"

    for wrong, word in [
        (pb.CompositeBatchRequest(model_id="nobody", audio_features=audio, batch_size=1), "nobody"),
        (pb.CompositeBatchRequest(model_id=model, audio_features=audio, batch_size=26), "batch_size"),
        (pb.CompositeBatchRequest(model_id=model, audio_features=audio[:7], batch_size=1), "audio_features"),
        (
            pb.CompositeBatchRequest(model_id=model, audio_features=[float("nan")] * AUDIO, batch_size=1),
            "not finite",
        ),
    ]:
        answer = stub.InferBatchComposite(wrong)
        assert not answer.success and word in answer.error, answer.error

    stats = stub.GetModelStats(pb.GetModelStatsRequest(model_id=model))
    assert stats.models[0].stats.usage_count == 2 * batch
    assert stats.loaded_models == 1 and 0 < stats.total_memory_bytes <= stats.max_memory_bytes
    assert stub.UnloadModel(pb.UnloadModelRequest(model_id=model)).success
    assert not stub.UnloadModel(pb.UnloadModelRequest(model_id="nobody")).success
    stats = stub.GetModelStats(pb.GetModelStatsRequest())
    assert stats.loaded_models == 0 and not any(m.HasField("stats") for m in stats.models)


def extended(pb, stub, model, size):
    """What the published file adds."""
    audio = np.zeros(AUDIO, np.float32)
    both = np.concatenate([audio, audio + 0.5])
    png = stub.InferBatchComposite(pb.CompositeBatchRequest(model_id=model, audio_features=both, batch_size=2))
    assert png.success and png.model_loaded and png.model_load_time_ms > 0, png.error
    rgb = stub.InferBatchComposite(
        pb.CompositeBatchRequest(
            model_id=model, audio_features=both, batch_size=2, output_format=pb.IMAGE_FORMAT_RGB
        )
    )
    assert [len(frame) for frame in rgb.composited_frames] == [3 * size[0] * size[1]] * 2
    assert list(rgb.background_indices) == [0, 1]
    try:
        stub.InferBatchComposite(
            pb.CompositeBatchRequest(model_id="nobody", audio_features=audio, batch_size=1),
            metadata=[("lipsync-errors", "status")],
        )
        raise AssertionError("no error")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.NOT_FOUND
        try:
            from google.rpc import error_details_pb2
            from grpc_status import rpc_status
        except ImportError:
            print("rich details not checked: no grpcio-status")
            return
        details = rpc_status.from_call(error).details
        resource = error_details_pb2.ResourceInfo()
        assert any(detail.Unpack(resource) for detail in details)
        assert resource.resource_name == "nobody"


def health_and_reflection(channel):
    """The standard services, through the standard packages."""
    try:
        from grpc_health.v1 import health_pb2, health_pb2_grpc
        from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
    except ImportError as error:
        print(f"health and reflection not checked: {error}")
        return
    health = health_pb2_grpc.HealthStub(channel)
    for service in ["", "lipsync.MultiTenantLipSync", "lipsync.LipSync"]:
        answer = health.Check(health_pb2.HealthCheckRequest(service=service))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    database = ProtoReflectionDescriptorDatabase(channel)
    assert "lipsync.MultiTenantLipSync" in database.get_services()
    described = database.FindFileContainingSymbol("lipsync.CompositeBatchRequest")
    assert "CompositeBatchRequest" in [message.name for message in described.message_type]


def main():
    proto, address, model, width, height = sys.argv[1:]
    size = (int(width), int(height))
    unlimited = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    pb, services = stubs(proto)
    with grpc.insecure_channel(address, options=unlimited) as channel:
        stub = services.MultiTenantLipSyncStub(channel)
        original(pb, stub, model, size)
        if hasattr(pb, "IMAGE_FORMAT_RGB"):
            extended(pb, stub, model, size)
            health_and_reflection(channel)
    print("ok")


if __name__ == "__main__":
    main()
