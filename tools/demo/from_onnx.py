#!/usr/bin/env python3
"""Makes the checkpoints of the committed networks, so that training goes on from them.

    python tools/demo/from_onnx.py src/demo/assets WORK

writes WORK/audio.pt (the encoder) and WORK/generator.pt, for `train_generator.py WORK ARTIST --start WORK/generator.pt`.
"""

import argparse
import pathlib

import onnx
import torch
from onnx import numpy_helper


def weights(path):
    """The initialisers of an exported network, by the names they had in torch."""
    network = onnx.load(str(path))
    return {
        tensor.name: torch.from_numpy(numpy_helper.to_array(tensor).copy())
        for tensor in network.graph.initializer
        if tensor.name.endswith((".weight", ".bias"))
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("assets", type=pathlib.Path)
    parser.add_argument("work", type=pathlib.Path)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    torch.save({"encoder": weights(args.assets / "audio_encoder.onnx")}, args.work / "audio.pt")
    torch.save(weights(args.assets / "unet.onnx"), args.work / "generator.pt")


if __name__ == "__main__":
    main()
