#!/usr/bin/env python3
"""Makes the checkpoints of the tests, tests/golden/checkpoints/, and what torch computes with them.

    python tools/golden_checkpoints.py [FOLDER]              the small ones, which are committed
    python tools/golden_checkpoints.py FOLDER --full-size    the real sizes, for a check by hand

Needs torch and numpy; nothing else in the project does, and CI takes the committed files. The networks are written here
as their names in a SyncTalk_2D checkpoint and the facts about them tell: torch is the reference that src/import is held
to. Weights are seeded; every batch normalisation has seen data, so that folding it matters.
"""

import argparse
import collections
import json
import pathlib

import numpy as np
import torch
from torch import nn
from torch.nn import functional

FULL = [32, 64, 128, 256, 512]
THIN = [2, 3, 4, 5, 6]
FULL_ENCODER = [32, 64, 128, 256, 512]
THIN_ENCODER = [3, 4, 5, 6, 7]


class InvertedResidual(nn.Module):
    def __init__(self, inputs, outputs, stride=1, residual=False):
        super().__init__()
        wide = 2 * inputs
        self.residual = residual
        self.conv = nn.Sequential(
            nn.Conv2d(inputs, wide, 1, bias=False),
            nn.BatchNorm2d(wide),
            nn.ReLU(),
            nn.Conv2d(wide, wide, 3, stride, 1, groups=wide, bias=False),
            nn.BatchNorm2d(wide),
            nn.ReLU(),
            nn.Conv2d(wide, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, x):
        return x + self.conv(x) if self.residual else self.conv(x)


class Named(nn.Module):
    """A sequence under the name that the checkpoint has for it."""

    def __init__(self, **sequences):
        super().__init__()
        for name, layers in sequences.items():
            setattr(self, name, nn.Sequential(*layers))

    def forward(self, x):
        for layers in self.children():
            x = layers(x)
        return x


def double(inputs, outputs, stride):
    return Named(
        double_conv=[InvertedResidual(inputs, outputs, stride), InvertedResidual(outputs, outputs, residual=True)]
    )


class Audio(nn.Module):
    def __init__(self, ch):
        super().__init__()
        self.conv1 = InvertedResidual(32, ch[1])
        self.conv2 = InvertedResidual(ch[1], ch[2])
        self.conv3 = nn.Conv2d(ch[2], ch[3], 3, 1, 1)
        self.bn3 = nn.BatchNorm2d(ch[3])
        self.conv4 = InvertedResidual(ch[3], ch[3], residual=True)
        self.conv5 = nn.Conv2d(ch[3], ch[4], 3, 2, 3)
        self.bn5 = nn.BatchNorm2d(ch[4])
        self.conv6 = InvertedResidual(ch[4], ch[4], residual=True)
        self.conv7 = InvertedResidual(ch[4], ch[4], residual=True)

    def forward(self, x):
        x = self.conv2(self.conv1(x))
        x = self.conv4(torch.relu(self.bn3(self.conv3(x))))
        x = torch.relu(self.bn5(self.conv5(x)))
        return self.conv7(self.conv6(x))


class Up(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.conv = double(inputs, outputs, 1)

    def forward(self, low, skip):
        low = functional.interpolate(low, scale_factor=2, mode="bilinear", align_corners=True)
        tall, wide = skip.shape[2] - low.shape[2], skip.shape[3] - low.shape[3]
        low = functional.pad(low, [wide // 2, wide - wide // 2, tall // 2, tall - tall // 2])
        return self.conv(torch.cat([low, skip], 1))


class Out(nn.Module):
    def __init__(self, inputs):
        super().__init__()
        self.conv = nn.Conv2d(inputs, 3, 1)

    def forward(self, x):
        return self.conv(x)


class Generator(nn.Module):
    def __init__(self, ch):
        super().__init__()
        self.audio_model = Audio(ch)
        self.fuse_conv = nn.Sequential(double(2 * ch[4], ch[4], 1), double(ch[4], ch[3], 1))
        self.inc = Named(inconv=[InvertedResidual(6, ch[0])])
        down = zip([ch[0], *ch[:4]], [ch[0], *ch[1:]])
        for level, (inputs, outputs) in enumerate(down, 1):
            setattr(self, f"down{level}", Named(maxpool_conv=[double(inputs, outputs, 2)]))
        # The published network's: 128, 64, 32, 32 and 16 of 32 to 512.
        outputs = [ch[2], ch[1], ch[0], ch[0], max(ch[0] // 2, 1)]
        below = [ch[3], *outputs]
        skips = [ch[3], ch[2], ch[1], ch[0], ch[0]]
        for level in range(5):
            setattr(self, f"up{level + 1}", Up(below[level] + skips[level], outputs[level]))
        self.outc = Out(outputs[4])

    def forward(self, x, audio):
        levels = [self.inc(x)]
        for level in range(1, 6):
            levels.append(getattr(self, f"down{level}")(levels[-1]))
        x = self.fuse_conv(torch.cat([levels[5], self.audio_model(audio)], 1))
        for level in range(1, 6):
            x = getattr(self, f"up{level}")(x, levels[5 - level])
        return torch.sigmoid(self.outc(x))


class Block(nn.Module):
    def __init__(self, inputs, outputs, kernel, stride, padding, residual=False):
        super().__init__()
        self.conv_block = nn.Sequential(
            nn.Conv2d(inputs, outputs, kernel, stride, padding), nn.BatchNorm2d(outputs)
        )
        self.residual = residual

    def forward(self, x):
        y = self.conv_block(x)
        return torch.relu(x + y if self.residual else y)


def encoder(ch):
    def same(channels):
        return Block(channels, channels, 3, 1, 1, True)

    return nn.Sequential(
        Block(1, ch[0], 3, 1, 1), same(ch[0]), same(ch[0]),
        Block(ch[0], ch[1], 3, (3, 1), 1), same(ch[1]), same(ch[1]),
        Block(ch[1], ch[2], 3, 3, 1), same(ch[2]), same(ch[2]),
        Block(ch[2], ch[3], 3, (3, 2), 1), same(ch[3]),
        Block(ch[3], ch[4], 3, 1, 0), Block(ch[4], 512, 1, 1, 0),
    )  # fmt: skip


def settle(network, *inputs):
    """Lets every batch normalisation see data, with gains and shifts that are not 1 and 0."""
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.6, 1.6)
            nn.init.normal_(layer.bias, 0, 0.2)
            layer.momentum = None
    network.train()
    with torch.no_grad():
        for _ in range(2):
            network(*[torch.randn_like(x) for x in inputs])
    return network.eval()


def noise(count, seed):
    """The same floats as `noise` in src/import/network/tests.rs."""
    values = np.empty(count, np.float32)
    for i in range(count):
        seed = (seed * 1_664_525 + 1_013_904_223) % 2**32
        values[i] = (seed >> 8) / 2**24
    return torch.from_numpy(values)


def samples(tensor, count=256):
    flat = tensor.detach().numpy().ravel()
    places = np.random.default_rng(3).choice(flat.size, count, replace=False)
    return [[int(place), float(flat[place])] for place in sorted(places)]


def forms(folder, network, weights):
    """The same weights in every form they come in."""
    torch.save(weights, folder / "generator.pth")
    wrapped = {f"module.{key}": value for key, value in weights.items()}
    adam = torch.optim.Adam(network.outc.parameters())
    network(torch.rand(1, 6, 320, 320), torch.rand(1, 32, 16, 16)).sum().backward()
    adam.step()
    network.load_state_dict(weights)
    state = {"epoch": 7, "loss": np.float64(0.5), "net": {"state_dict": wrapped}, "optimizer": adam.state_dict()}
    torch.save(state, folder / "generator_nested.pth")
    for name, element in [("half", torch.half), ("double", torch.double), ("bfloat16", torch.bfloat16)]:
        cast = {k: v.to(element) if v.is_floating_point() else v for k, v in weights.items()}
        torch.save(cast, folder / f"generator_{name}.pth")
    # One storage for all, and every weight of several dimensions with its last two exchanged in memory.
    flat, views = [], collections.OrderedDict()
    for value in weights.values():
        if value.is_floating_point():
            flat.append((value.transpose(-1, -2) if value.dim() > 1 else value).contiguous().view(-1))
    whole, start = torch.cat([torch.full((5,), torch.nan), *flat]), 5
    for key, value in weights.items():
        if value.is_floating_point():
            part = whole[start : start + value.numel()]
            start += value.numel()
            if value.dim() > 1:
                shape = [*value.shape[:-2], value.shape[-1], value.shape[-2]]
                part = part.view(shape).transpose(-1, -2)
            views[key] = part
        else:
            views[key] = value
    torch.save(views, folder / "generator_views.pth")
    torch.save(weights, folder / "generator_legacy.pth", _use_new_zipfile_serialization=False)
    legacy = (folder / "generator_legacy.pth").read_bytes()
    (folder / "generator_legacy.pth").write_bytes(legacy[:4096])


def families(folder):
    """Some weights of generators that are not served, of one number each: only shapes are looked at."""
    for name, heard, levels in [("wenet", 256, 5), ("hubert_160", 16, 4)]:
        shapes = {"audio_model.conv1.conv.0.weight": [512, heard, 1, 1], "outc.conv.weight": [3, 32, 1, 1]}
        for level in range(1, levels + 1):
            shapes[f"down{level}.maxpool_conv.0.double_conv.0.conv.0.weight"] = [64, 32, 1, 1]
        torch.save({key: torch.zeros(1).expand(shape) for key, shape in shapes.items()}, folder / f"{name}.pth")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", nargs="?", type=pathlib.Path, default="tests/golden/checkpoints")
    parser.add_argument("--full-size", action="store_true")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(1)
    generator = Generator(FULL if args.full_size else THIN)
    settle(generator, torch.rand(2, 6, 320, 320), torch.rand(2, 32, 16, 16))
    hearing = settle(encoder(FULL_ENCODER if args.full_size else THIN_ENCODER), torch.rand(16, 1, 80, 16))
    weights = generator.state_dict()
    if args.full_size:
        torch.save(weights, args.folder / "generator.pth")
    else:
        forms(args.folder, generator, collections.OrderedDict((k, v.clone()) for k, v in weights.items()))
        generator.eval()
        families(args.folder)
    torch.save(hearing.state_dict(), args.folder / "audio_visual_encoder.pth")
    owned = {f"audio_encoder.{key}": value for key, value in hearing.state_dict().items()}
    torch.save(owned, args.folder / "audio_visual_encoder_owned.pth")
    with torch.no_grad():
        pictures = generator(
            noise(2 * 6 * 320 * 320, 1).view(2, 6, 320, 320), noise(2 * 32 * 16 * 16, 2).view(2, 32, 16, 16)
        )
        features = hearing(8 * noise(3 * 80 * 16, 3).view(3, 1, 80, 16) - 4).flatten(1)
    print(f"pictures {pictures.min():.3f} to {pictures.max():.3f}, deviation {pictures.std():.3f}")
    print(f"features {features.min():.3f} to {features.max():.3f}, deviation {features.std():.3f}")
    expected = {"torch": torch.__version__, "output": samples(pictures), "emb": samples(features)}
    (args.folder / "expected.json").write_text(json.dumps(expected) + "\n")
    for path in sorted(args.folder.iterdir()):
        print(f"{path} {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
