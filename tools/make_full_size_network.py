#!/usr/bin/env python3
"""Makes a SyncTalk_2D generator and audio encoder of the real size with random weights.

    python tools/make_full_size_network.py FOLDER [--channels 32,64,128,256,512] [--seed 1]

writes FOLDER/generator.onnx (48.7 MB) and FOLDER/audio_encoder.onnx. They cost what trained ones cost and draw noise:
for measuring, and for comparing the engines. Needs torch (CPU) and onnx.

The shape of the generator is that of the public SyncTalk_2D U-Net at 328 pixels with `ave` audio features: inverted
residuals of expansion 2, five levels down by stride 2, the audio branch joined at the bottom, five levels up by
bilinear upsampling with skip connections. Exported by the legacy exporter at opset 17 with a dynamic batch.
"""

import argparse
import pathlib

import torch
from torch import nn
from torch.nn import functional

OPSET = 17


class InvertedResidual(nn.Module):
    """Pointwise up, depthwise, pointwise down, each with batch normalisation."""

    def __init__(self, inputs, outputs, stride=1, residual=False, hidden=None):
        super().__init__()
        hidden = hidden or 2 * inputs
        self.residual = residual
        self.conv = nn.Sequential(
            nn.Conv2d(inputs, hidden, 1, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU(),
            nn.Conv2d(hidden, hidden, 3, stride, 1, groups=hidden, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU(),
            nn.Conv2d(hidden, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, x):
        return x + self.conv(x) if self.residual else self.conv(x)


def double(inputs, outputs, stride):
    return nn.Sequential(
        InvertedResidual(inputs, outputs, stride), InvertedResidual(outputs, outputs, residual=True)
    )


class Up(nn.Module):
    def __init__(self, low, skip, outputs):
        super().__init__()
        self.conv = double(low + skip, outputs, 1)

    def forward(self, low, skip):
        low = functional.interpolate(low, scale_factor=2, mode="bilinear", align_corners=True)
        return self.conv(torch.cat([low, skip], 1))


def audio_branch(ch):
    """[N,32,16,16] to [N,ch[4],10,10]: the last convolution's padding of 3 makes 16 pixels 10."""
    return nn.Sequential(
        InvertedResidual(32, ch[1]),
        InvertedResidual(ch[1], ch[2]),
        nn.Conv2d(ch[2], ch[3], 3, 1, 1),
        nn.BatchNorm2d(ch[3]),
        nn.ReLU(),
        InvertedResidual(ch[3], ch[3], residual=True),
        nn.Conv2d(ch[3], ch[4], 3, 2, 3),
        nn.BatchNorm2d(ch[4]),
        nn.ReLU(),
        InvertedResidual(ch[4], ch[4], residual=True),
        InvertedResidual(ch[4], ch[4], residual=True),
    )


class Generator(nn.Module):
    """`ch` are the channels on the way down, `up` those on the way up, `first` those inside the first block; by default as
    SyncTalk_2D has them.
    """

    def __init__(self, ch, up=None, first=None):
        super().__init__()
        up = up or [ch[2], ch[1], ch[0], ch[0], ch[0] // 2]
        self.audio = audio_branch(ch)
        self.fuse = nn.Sequential(double(2 * ch[4], ch[4], 1), double(ch[4], ch[3], 1))
        self.inc = InvertedResidual(6, ch[0], hidden=first)
        self.down = nn.ModuleList(
            double(a, b, 2) for a, b in zip([ch[0], *ch[:4]], [ch[0], *ch[1:]], strict=True)
        )
        # Each level up takes what comes from below and the skip of its own level.
        skips = [ch[3], ch[2], ch[1], ch[0], ch[0]]
        self.up = nn.ModuleList(Up(*sizes) for sizes in zip([ch[3], *up], skips, up, strict=False))
        self.out = nn.Conv2d(up[4], 3, 1)

    def forward(self, x, audio):
        skips = [self.inc(x)]
        for down in self.down:
            skips.append(down(skips[-1]))
        x = self.fuse(torch.cat([skips.pop(), self.audio(audio)], 1))
        for up in self.up:
            x = up(x, skips.pop())
        return torch.sigmoid(self.out(x))


class AudioEncoder(nn.Module):
    """mel [N,1,80,16] to emb [N,512]: thirteen convolutions that halve the window down to one place."""

    def __init__(self):
        super().__init__()
        layers = []
        for inputs, outputs, kernel, stride, padding, residual in [
            (1, 32, 3, 1, 1, False),
            (32, 32, 3, 1, 1, True),
            (32, 32, 3, 1, 1, True),
            (32, 64, 3, (3, 1), 1, False),
            (64, 64, 3, 1, 1, True),
            (64, 64, 3, 1, 1, True),
            (64, 128, 3, 3, 1, False),
            (128, 128, 3, 1, 1, True),
            (128, 128, 3, 1, 1, True),
            (128, 256, 3, (3, 2), 1, False),
            (256, 256, 3, 1, 1, True),
            (256, 512, 3, 1, 0, False),
            (512, 512, 1, 1, 0, False),
        ]:
            layers.append(ConvBlock(inputs, outputs, kernel, stride, padding, residual))
        self.layers = nn.Sequential(*layers)

    def forward(self, mel):
        return self.layers(mel).flatten(1)


class ConvBlock(nn.Module):
    def __init__(self, inputs, outputs, kernel, stride, padding, residual):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding)
        self.norm = nn.BatchNorm2d(outputs)
        self.residual = residual

    def forward(self, x):
        y = self.norm(self.conv(x))
        return torch.relu(x + y if self.residual else y)


def settle(module, *inputs):
    """Runs in training mode, so that every batch normalisation learns what it sees and the output is not saturated."""
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = None  # the plain average of what is seen
    module.train()
    with torch.no_grad():
        for _ in range(3):
            module(*(torch.rand_like(x) if x.shape[1] == 6 else torch.randn_like(x) for x in inputs))
    module.eval()


def export(module, path, inputs, names, output):
    axes = {name: {0: "N"} for name in [*names, output]}
    torch.onnx.export(
        module,
        inputs,
        str(path),
        input_names=names,
        output_names=[output],
        dynamic_axes=axes,
        opset_version=OPSET,
        dynamo=False,
    )
    parameters = sum(p.numel() for p in module.parameters())
    print(f"{path}: {parameters / 1e6:.2f} M parameters, {path.stat().st_size / 1e6:.1f} MB")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--channels", default="32,64,128,256,512")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(args.seed)

    generator = Generator([int(c) for c in args.channels.split(",")])
    settle(generator, torch.rand(2, 6, 320, 320), torch.randn(2, 32, 16, 16))
    inputs = (torch.rand(1, 6, 320, 320), torch.randn(1, 32, 16, 16))
    with torch.no_grad():
        output = generator(*inputs)
    print(f"output between {output.min():.3f} and {output.max():.3f}, deviation {output.std():.3f}")
    export(generator, args.folder / "generator.onnx", inputs, ["input", "audio"], "output")

    encoder = AudioEncoder()
    settle(encoder, torch.randn(16, 1, 80, 16))
    export(encoder, args.folder / "audio_encoder.onnx", (torch.randn(1, 1, 80, 16),), ["mel"], "emb")


if __name__ == "__main__":
    main()
