#!/usr/bin/env python3
"""Makes the small networks of the tests, tests/golden/networks/*.onnx, and the engines' probe.

Needs the `onnx` package; run it from the repository's root. The files are committed: this is how they came to be.
With `--unet`, which needs torch and onnxruntime too, it makes the U-Net of tools/make_full_size_network.py with 2 to 32
channels, and the same in INT8.

The valid generator is `output = sigmoid(conv3x3(input) + upsample(conv1x1(audio)))`, so that a wrong channel order,
batch order or input shows in every pixel. The others are the same with one thing wrong.
"""

import json
import pathlib
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

OUT = pathlib.Path("tests/golden/networks")
PROBE = pathlib.Path("src/engine/probe.onnx")
OPSET = 17
IR_VERSION = 8


def save(path, nodes, inputs, outputs, weights):
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info(*spec) for spec in inputs],
        [helper.make_tensor_value_info(*spec) for spec in outputs],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(
        graph,
        producer_name="lipsync-tests",
        opset_imports=[helper.make_opsetid("", OPSET)],
    )
    model.ir_version = IR_VERSION
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    print(f"{path} {path.stat().st_size} bytes")


def weights(seed=1):
    rng = np.random.default_rng(seed)
    return {
        "wv": rng.normal(0, 0.3, (3, 6, 3, 3)).astype(np.float32),
        "bv": rng.normal(0, 0.1, 3).astype(np.float32),
        "wa": rng.normal(0, 0.3, (3, 32, 1, 1)).astype(np.float32),
        "scales": np.array([1, 1, 20, 20], np.float32),
    }


def loudness_weights():
    """A mouth that is as bright as the sound of its own frame is loud, whatever the background.

    Window t holds features t-8 to t+7, two channels each, so its own are channels 16 and 17.
    """
    values = {name: np.zeros_like(value) for name, value in weights().items()}
    values["wa"][:, 16:18] = 12 / 2
    values["bv"][:] = -6
    values["scales"] = np.array([1, 1, 20, 20], np.float32)
    return values


def loudness_encoder(path):
    """The mean of the mel bands at the time of the window's frame: its 16 columns begin 40 ms before."""
    kernel = np.zeros((1, 1, 80, 16), np.float32)
    kernel[..., 4:6] = 1 / 160
    save(
        path,
        [
            helper.make_node("Conv", ["mel", "k"], ["m"], pads=[0, 0, 0, 0], strides=[1, 1], dilations=[1, 1]),
            helper.make_node("Flatten", ["m"], ["f"], axis=1),
            helper.make_node("Gemm", ["f", "w", "b"], ["g"]),
            helper.make_node("Sigmoid", ["g"], ["emb"]),
        ],
        [("mel", TensorProto.FLOAT, ["N", 1, 80, 16])],
        [("emb", TensorProto.FLOAT, ["N", 512])],
        {"k": kernel, "w": np.full((1, 512), 2, np.float32), "b": np.full(512, 3, np.float32)},
    )


def generator(path, n="N", visual="input", side=320, element=TensorProto.FLOAT, nan=False, values=None):
    nodes = []
    source = visual
    if element != TensorProto.FLOAT:
        nodes.append(helper.make_node("Cast", [visual], ["as_float"], to=TensorProto.FLOAT))
        source = "as_float"
    # rten 0.27 takes no convolution without pads, strides and dilations, though ONNX makes them optional; exporters write them.
    nodes += [
        helper.make_node("Conv", [source, "wv", "bv"], ["v"], pads=[1, 1, 1, 1], strides=[1, 1], dilations=[1, 1]),
        helper.make_node("Conv", ["audio", "wa"], ["a"], pads=[0, 0, 0, 0], strides=[1, 1], dilations=[1, 1]),
        helper.make_node(
            "Resize",
            ["a", "", "scales"],
            ["u"],
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        ),
        helper.make_node("Add", ["v", "u"], ["s"]),
        helper.make_node("Sigmoid", ["s"], ["p" if nan else "output"]),
    ]
    values = values or weights()
    values["scales"] = np.array([1, 1, side / 16, side / 16], np.float32)
    if nan:
        values["minus"] = np.array(-1, np.float32)
        # The logarithm of a negative number.
        nodes += [
            helper.make_node("Mul", ["p", "minus"], ["m"]),
            helper.make_node("Log", ["m"], ["output"]),
        ]
    save(
        path,
        nodes,
        [(visual, element, [n, 6, side, side]), ("audio", TensorProto.FLOAT, [n, 32, 16, 16])],
        [("output", TensorProto.FLOAT, [n, 3, side, side])],
        values,
    )


def encoder(path, n="N"):
    rng = np.random.default_rng(2)
    save(
        path,
        [
            helper.make_node("AveragePool", ["mel"], ["p"], kernel_shape=[20, 8], strides=[20, 8]),
            helper.make_node("Flatten", ["p"], ["f"], axis=1),
            helper.make_node("Gemm", ["f", "w", "b"], ["g"]),
            helper.make_node("Tanh", ["g"], ["emb"]),
        ],
        [("mel", TensorProto.FLOAT, [n, 1, 80, 16])],
        [("emb", TensorProto.FLOAT, [n, 512])],
        {
            "w": rng.normal(0, 0.2, (8, 512)).astype(np.float32),
            "b": rng.normal(0, 0.1, 512).astype(np.float32),
        },
    )


def probe(path):
    save(
        path,
        [helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])],
        [("x", TensorProto.FLOAT, [1, 1, 4, 4])],
        [("y", TensorProto.FLOAT, [1, 1, 4, 4])],
        {"w": np.ones((1, 1, 3, 3), np.float32)},
    )


def noise(shape, seed):
    """The same floats as `noise` in src/engine/engine_tests.rs."""
    count = int(np.prod(shape))
    values = np.empty(count, np.float32)
    for i in range(count):
        seed = (seed * 1_664_525 + 1_013_904_223) % 2**32
        values[i] = (seed >> 8) / 2**24
    return values.reshape(shape)


def samples(array, count=64):
    """Floats spread over the array, with their places."""
    flat = array.ravel()
    places = np.random.default_rng(3).choice(flat.size, count, replace=False)
    return [[int(i), float(flat[i])] for i in sorted(places)]


def expected(path):
    """What onnx's reference implementation computes, to hold the engines to."""
    (frames,) = ReferenceEvaluator(str(OUT / "generator.onnx")).run(
        ["output"],
        {"input": noise((2, 6, 320, 320), 1), "audio": noise((2, 32, 16, 16), 2)},
    )
    (features,) = ReferenceEvaluator(str(OUT / "audio_encoder.onnx")).run(
        ["emb"], {"mel": noise((3, 1, 80, 16), 1)}
    )
    path.write_text(
        json.dumps({"generator": samples(frames), "audio_encoder": samples(features)}) + "\n"
    )


def unet(path, quantised):
    """A generator with skip connections, and the same with bytes between its operators."""
    import torch
    from make_full_size_network import Generator, export, settle
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self):
            self.frames = iter(range(4))

        def get_next(self):
            frame = next(self.frames, None)
            if frame is None:
                return None
            return {"input": noise((1, 6, 320, 320), frame), "audio": noise((1, 32, 16, 16), 9 + frame)}

    torch.manual_seed(1)
    inputs = (torch.rand(1, 6, 320, 320), torch.randn(1, 32, 16, 16))
    network = Generator([2, 4, 8, 16, 32])
    settle(network, torch.rand(2, 6, 320, 320), torch.randn(2, 32, 16, 16))
    export(network, path, inputs, ["input", "audio"], "output")
    quantize_static(
        path,
        quantised,
        Reader(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    print(f"{quantised} {quantised.stat().st_size} bytes")


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    if sys.argv[1:] == ["--unet"]:
        unet(OUT / "unet.onnx", OUT / "unet_int8.onnx")
        return
    generator(OUT / "generator.onnx")
    generator(OUT / "generator_fixed_batch.onnx", n=1)
    generator(OUT / "generator_wrong_name.onnx", visual="image")
    generator(OUT / "generator_wrong_shape.onnx", side=160)
    generator(OUT / "generator_wrong_type.onnx", element=TensorProto.UINT8)
    generator(OUT / "generator_nan.onnx", nan=True)
    encoder(OUT / "audio_encoder.onnx")
    generator(OUT / "generator_loudness.onnx", values=loudness_weights())
    loudness_encoder(OUT / "audio_encoder_loudness.onnx")
    probe(PROBE)
    expected(OUT / "expected.json")


if __name__ == "__main__":
    main()
