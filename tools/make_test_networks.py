#!/usr/bin/env python3
"""Makes the small networks of the tests, tests/golden/networks/*.onnx, and the engines' probe.

Needs the `onnx` package; run it from the repository's root. The files are committed: this is how they came to be.
With `--unet`, which needs torch and onnxruntime too, it makes the U-Net of tools/make_full_size_network.py with 2 to 32
channels, and the same in INT8. With `--legacy`, which needs torch, it makes that U-Net with the reference's padding of
each level up to its skip's size, as torch's legacy exporter writes it with a dynamic batch: chains of integers that
compute the padding from the tensors' shapes. With `--dynamo`, which needs torch and onnxscript, it makes the U-Net as
torch's newer exporter writes it.

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


def foreign(path):
    """The valid generator under other names, its inputs in another order, with one of its own names for a tensor inside."""
    nodes = [
        helper.make_node("Conv", ["image", "wv", "bv"], ["output"], pads=[1, 1, 1, 1], strides=[1, 1], dilations=[1, 1]),
        helper.make_node("Conv", ["input", "wa"], ["a"], pads=[0, 0, 0, 0], strides=[1, 1], dilations=[1, 1]),
        helper.make_node(
            "Resize",
            ["a", "", "scales"],
            ["u"],
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        ),
        helper.make_node("Add", ["output", "u"], ["s"]),
        helper.make_node("Sigmoid", ["s"], ["prediction"]),
    ]
    save(
        path,
        nodes,
        [("input", TensorProto.FLOAT, ["N", 32, 16, 16]), ("image", TensorProto.FLOAT, ["N", 6, 320, 320])],
        [("prediction", TensorProto.FLOAT, ["N", 3, 320, 320])],
        weights(),
    )


def halves(path):
    """The valid generator with 16-bit floats at its edges, under the usual names."""
    nodes = [
        helper.make_node("Cast", ["input"], ["x"], to=TensorProto.FLOAT),
        helper.make_node("Cast", ["audio"], ["y"], to=TensorProto.FLOAT),
        helper.make_node("Conv", ["x", "wv", "bv"], ["v"], pads=[1, 1, 1, 1], strides=[1, 1], dilations=[1, 1]),
        helper.make_node("Conv", ["y", "wa"], ["a"], pads=[0, 0, 0, 0], strides=[1, 1], dilations=[1, 1]),
        helper.make_node(
            "Resize",
            ["a", "", "scales"],
            ["u"],
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        ),
        helper.make_node("Add", ["v", "u"], ["s"]),
        helper.make_node("Sigmoid", ["s"], ["p"]),
        helper.make_node("Cast", ["p"], ["output"], to=TensorProto.FLOAT16),
    ]
    save(
        path,
        nodes,
        [("input", TensorProto.FLOAT16, ["N", 6, 320, 320]), ("audio", TensorProto.FLOAT16, ["N", 32, 16, 16])],
        [("output", TensorProto.FLOAT16, ["N", 3, 320, 320])],
        weights(),
    )


def external(path):
    """The valid generator with its weights in a file beside it."""
    model = onnx.load(OUT / "generator.onnx")
    onnx.save(model, path, save_as_external_data=True, location=path.name + ".data", size_threshold=0)
    print(f"{path} {path.stat().st_size} bytes")


def relative(path, visual, audio):
    """A network of the family with other shapes: nothing but its ports matters."""
    save(
        path,
        [
            helper.make_node("GlobalAveragePool", ["audio"], ["a"]),
            helper.make_node("ReduceMean", ["a"], ["m"], axes=[1], keepdims=1),
            helper.make_node("Conv", ["input", "w"], ["v"], pads=[0, 0, 0, 0], strides=[1, 1], dilations=[1, 1]),
            helper.make_node("Add", ["v", "m"], ["output"]),
        ],
        [("input", TensorProto.FLOAT, ["N", *visual]), ("audio", TensorProto.FLOAT, ["N", *audio])],
        [("output", TensorProto.FLOAT, ["N", 3, *visual[1:]])],
        {"w": np.ones((3, 6, 1, 1), np.float32)},
    )


def encoder(path, n="N", names=("mel", "emb"), tail=()):
    rng = np.random.default_rng(2)
    mel, emb = names
    ending = [helper.make_node("Tanh", ["g"], [emb])]
    if tail:
        ending = [
            helper.make_node("Tanh", ["g"], ["t"]),
            helper.make_node("Unsqueeze", ["t", "axes"], [emb]),
        ]
    save(
        path,
        [
            helper.make_node("AveragePool", [mel], ["p"], kernel_shape=[20, 8], strides=[20, 8]),
            helper.make_node("Flatten", ["p"], ["f"], axis=1),
            helper.make_node("Gemm", ["f", "w", "b"], ["g"]),
            *ending,
        ],
        [(mel, TensorProto.FLOAT, [n, 1, 80, 16])],
        [(emb, TensorProto.FLOAT, [n, 512, *tail])],
        {
            "w": rng.normal(0, 0.2, (8, 512)).astype(np.float32),
            "b": rng.normal(0, 0.1, 512).astype(np.float32),
        }
        | ({"axes": np.array([2, 3], np.int64)} if tail else {}),
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


def legacy():
    """The U-Net as the reference writes its levels up: padded to the skip's size, which is read from the tensors."""
    import make_full_size_network as full
    import torch
    from torch.nn import functional

    class Up(full.Up):
        def forward(self, low, skip):
            low = functional.interpolate(low, scale_factor=2, mode="bilinear", align_corners=True)
            down, across = skip.size(2) - low.size(2), skip.size(3) - low.size(3)
            low = functional.pad(low, [across // 2, across - across // 2, down // 2, down - down // 2])
            return self.conv(torch.cat([low, skip], 1))

    full.Up = Up
    torch.manual_seed(1)
    inputs = (torch.rand(1, 6, 320, 320), torch.randn(1, 32, 16, 16))
    network = full.Generator([2, 4, 8, 16, 32])
    full.settle(network, torch.rand(2, 6, 320, 320), torch.randn(2, 32, 16, 16))
    for opset in (11, 17):
        full.OPSET = opset
        full.export(network, OUT / f"unet_legacy_{opset}.onnx", inputs, ["input", "audio"], "output")


def dynamo(path):
    """The U-Net by torch.export, without the stack traces that the exporter writes to every node."""
    import torch
    from make_full_size_network import Generator, settle

    torch.manual_seed(1)
    network = Generator([2, 4, 8, 16, 32])
    settle(network, torch.rand(2, 6, 320, 320), torch.randn(2, 32, 16, 16))
    frames = {0: torch.export.Dim("N")}
    torch.onnx.export(
        network,
        (torch.rand(2, 6, 320, 320), torch.randn(2, 32, 16, 16)),
        str(path),
        input_names=["input", "audio"],
        output_names=["output"],
        dynamic_shapes=(frames, frames),
        dynamo=True,
        external_data=False,
    )
    model = onnx.load(path)
    graph = model.graph
    for named in [*graph.node, *graph.value_info, *graph.input, *graph.output, graph]:
        named.ClearField("metadata_props")
    onnx.save(model, path)
    print(f"{path} {path.stat().st_size} bytes")


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    if sys.argv[1:] == ["--unet"]:
        unet(OUT / "unet.onnx", OUT / "unet_int8.onnx")
        return
    if sys.argv[1:] == ["--legacy"]:
        legacy()
        return
    if sys.argv[1:] == ["--dynamo"]:
        dynamo(OUT / "unet_dynamo.onnx")
        return
    generator(OUT / "generator.onnx")
    generator(OUT / "generator_fixed_batch.onnx", n=1)
    foreign(OUT / "generator_foreign.onnx")
    halves(OUT / "generator_halves.onnx")
    external(OUT / "generator_external.onnx")
    relative(OUT / "generator_hubert.onnx", (6, 320, 320), (32, 32, 32))
    relative(OUT / "generator_wenet.onnx", (6, 320, 320), (256, 16, 32))
    relative(OUT / "generator_160.onnx", (6, 160, 160), (32, 16, 16))
    generator(OUT / "generator_wrong_shape.onnx", side=160)
    generator(OUT / "generator_wrong_type.onnx", element=TensorProto.UINT8)
    generator(OUT / "generator_nan.onnx", nan=True)
    encoder(OUT / "audio_encoder.onnx")
    generator(OUT / "generator_loudness.onnx", values=loudness_weights())
    loudness_encoder(OUT / "audio_encoder_loudness.onnx")
    encoder(OUT / "audio_encoder_foreign.onnx", names=("mel_spectrogram", "audio_features"), tail=(1, 1))
    probe(PROBE)
    expected(OUT / "expected.json")


if __name__ == "__main__":
    main()
