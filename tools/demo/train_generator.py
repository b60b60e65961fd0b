#!/usr/bin/env python3
"""Trains the demo's generator on drawn faces, and exports both networks.

    python tools/demo/train_generator.py WORK ARTIST [--steps 3000] [--seed 1]

ARTIST is the built examples/draw_demo_faces. WORK holds audio.pt of train_audio.py and keeps the drawn faces, the
checkpoint generator.pt, unet.onnx and audio_encoder.onnx.

A CPU has no time for the plain way, so: batch normalisation only sets the scale of the random weights (two batches), then
it is folded away. The first two levels, which see only the background, are set by hand to pass colours on beside random
filters, and stay as they are: their features of the 300 backgrounds are computed once. Everything below is trained on the
whole picture, the two upper levels up, which cost most, on a window of it that moves from step to step.
"""

import argparse
import math
import pathlib
import time

import cv2
import numpy as np
import scipy.spatial
import torch
from torch import nn
from torch.nn import functional

import faces
import speech
from networks import CHANNELS, FIRST, UP, AudioEncoder, BranchReader, Generator, export, fold
from train_audio import augmented, entries, features

WINDOW = 160
RECT_SIDE = 230
# Pixels over which the server fades the prediction in: compositing_feather of the demo's avatars.
FEATHER = 20
MASK_ROWS, MASK_COLUMNS = slice(5, 310), slice(5, 315)


def visual(roi):
    """The visual tensor [N,6,320,320] of regions [N,320,320,3] RGB u8: BGR, and BGR with the mouth blacked out."""
    seen = torch.from_numpy(np.ascontiguousarray(roi[..., ::-1])).permute(0, 3, 1, 2).float() / 255
    masked = seen.clone()
    masked[:, :, MASK_ROWS, MASK_COLUMNS] = 0
    return torch.cat([seen, masked], 1)


def target(roi):
    return torch.from_numpy(np.ascontiguousarray(roi[..., ::-1])).permute(0, 3, 1, 2).float() / 255


def prepare(generator, sample, windows):
    """Scales the random weights to the data, folds the normalisation, and lets colours pass through the top levels."""
    for layer in generator.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = None
    generator.train()
    with torch.no_grad():
        generator(sample, windows)
        generator(sample, windows)
        generator.eval()
        fold(generator)
        colours = range(3)
        expand, depthwise, project = (generator.inc.conv[i] for i in (0, 3, 6))
        # The blacked-out copy tells nothing that the first three channels do not; its frame would only be an artefact.
        expand.weight[:, 3:] = 0
        pass_on(expand, colours, colours)
        centre(depthwise, colours, [[0, 0, 0], [0, 1, 0], [0, 0, 0]])
        pass_on(project, colours, colours)
        first, second = generator.down[0]
        expand, depthwise, project = (first.conv[i] for i in (0, 3, 6))
        pass_on(expand, colours, colours)
        centre(depthwise, colours, [[1 / 16, 1 / 8, 1 / 16], [1 / 8, 1 / 4, 1 / 8], [1 / 16, 1 / 8, 1 / 16]])
        pass_on(project, colours, colours)
        second.conv[6].weight[:3] = 0
        second.conv[6].bias[:3] = 0
    copy_on_top(generator)


def copy_on_top(generator):
    """Makes the top level and the output give back the colours of the background: painting is learnt as a difference.

    The output is a sigmoid, so its input must be the logit of the colour: a line, and past a knee at both ends a steeper
    one, which the residual block adds.
    """
    knee = 0.78
    x = np.linspace(0.03, 0.97, 95)
    steeper = np.maximum(x - knee, 0) - np.maximum(1 - knee - x, 0)
    parts = np.stack([x - 0.5, steeper], 1) * (x * (1 - x))[:, None]
    slope, more = np.linalg.lstsq(parts, np.log(x / (1 - x)) * x * (1 - x), rcond=None)[0]
    colours = range(3)
    with torch.no_grad():
        first, second = generator.up[4].conv
        expand, depthwise, project = (first.conv[i] for i in (0, 3, 6))
        pass_on(expand, colours, [UP[3] + c for c in colours])
        centre(depthwise, colours, [[0, 0, 0], [0, 1, 0], [0, 0, 0]])
        pass_on(project, colours, colours)
        expand, depthwise, project = (second.conv[i] for i in (0, 3, 6))
        project.weight[:3] = 0
        project.bias[:3] = 0
        for c in colours:
            for hidden, sign in ((2 * c, 1), (2 * c + 1, -1)):
                expand.weight[hidden] = 0
                expand.weight[hidden, c] = sign
                expand.bias[hidden] = -knee if sign > 0 else 1 - knee
                centre(depthwise, [hidden], [[0, 0, 0], [0, 1, 0], [0, 0, 0]])
                project.weight[c, hidden] = sign * more / slope
        generator.out.weight.zero_()
        for c in colours:
            generator.out.weight[c, c] = slope
        generator.out.bias.fill_(-slope / 2)


def adopt(generator, weights):
    """Takes over weights. In a layer that has grown, what was there does not see what is new."""
    with torch.no_grad():
        for name, ours in generator.state_dict().items():
            theirs = weights.get(name)
            if theirs is None or any(a > b for a, b in zip(theirs.shape, ours.shape)):
                continue
            place = tuple(slice(0, size) for size in theirs.shape)
            if theirs.shape != ours.shape and ours.dim() > 1 and theirs.shape[1] < ours.shape[1]:
                ours[: theirs.shape[0]] = 0
            ours[place] = theirs


def pass_on(layer, outputs, inputs):
    for output, given in zip(outputs, inputs, strict=True):
        layer.weight[output] = 0
        layer.weight[output, given] = 1
        layer.bias[output] = 0


def centre(layer, channels, kernel):
    for channel in channels:
        layer.weight[channel, 0] = torch.tensor(kernel)
        layer.bias[channel] = 0


def stretch(low, size, first, count, axis, offset):
    """Rows (axis 2) or columns (axis 3) `first..first+count` of `low` bilinearly doubled to `size` with aligned corners.

    `low` begins at `offset` of its whole extent, which is size / 2.
    """
    place = torch.arange(first, first + count) * ((size // 2 - 1) / (size - 1)) - offset
    below = place.floor().long()
    above = (below + 1).clamp(max=low.shape[axis] - 1)
    share = (place - below).view([-1 if a == axis else 1 for a in range(4)])
    return low.index_select(axis, below) * (1 - share) + low.index_select(axis, above) * share


def window_forward(generator, x0, x1, backgrounds, emb, top, left, size):
    """The output before the sigmoid in rows top.. and columns left.., as of the whole network but for its edges."""
    x0 = x0[backgrounds, :, top : top + size, left : left + size].float()
    x1 = x1[backgrounds].float()
    skips = [x1]
    for down in generator.down[1:]:
        skips.append(down(skips[-1]))
    audio = generator.audio(emb.reshape(-1, 32, 16, 16))
    x = generator.fuse(torch.cat([skips.pop(), audio], 1))
    for up in generator.up[:3]:
        x = up(x, skips.pop())
    # Level 160: the window's half, and two pixels around it.
    half_top, half_left = max(0, top // 2 - 2), max(0, left // 2 - 2)
    half_rows, half_columns = min(160, (top + size) // 2 + 3) - half_top, min(160, (left + size) // 2 + 3) - half_left
    low = stretch(x, 160, half_top, half_rows, 2, 0)
    low = stretch(low, 160, half_left, half_columns, 3, 0)
    skip = x1[:, :, half_top : half_top + half_rows, half_left : half_left + half_columns]
    low = generator.up[3].conv(torch.cat([low, skip], 1))
    low = stretch(low, 320, top, size, 2, half_top)
    low = stretch(low, 320, left, size, 3, half_left)
    x = generator.up[4].conv(torch.cat([low, x0], 1))
    return generator.out(x)


class Data:
    """Drawn faces, and for each the speech windows that ask for its mouth."""

    def __init__(self, args, encoder, rng):
        clips = speech.dataset(args.work, args.seconds, args.seed)
        data = augmented(clips, rng) + augmented(clips, rng)
        mouths = [mouth for _, mouth in data]
        self.shut, self.faces, self.about = faces.dataset(args.artist, args.work, MOUTHS(clips), args.per_pose, args.seed)
        emb, places, base = [], [], 0
        for mel, mouth in data:
            emb.append(features(encoder, mel).half())
            places.append(base + entries(range(len(mouth)), len(mouth)))
            base += len(mouth)
        self.emb, self.places = torch.cat(emb), torch.from_numpy(np.concatenate(places))
        tree = scipy.spatial.cKDTree(np.concatenate(mouths) * [1, 0.6])
        wanted = self.about[:, 2:] * [1, 0.6]
        self.candidates = []
        for near, nearest in zip(tree.query_ball_point(wanted, 0.012), tree.query(wanted)[1], strict=True):
            self.candidates.append(rng.permutation(near)[:64] if near else np.array([nearest]))
        self.background = (self.about[:, 0] * faces.POSES + self.about[:, 1]).astype(int)
        print(f"{len(self.faces)} faces, {np.median([len(c) for c in self.candidates])} windows a face", flush=True)

    def windows(self, images, rng):
        picks = [self.candidates[i][rng.integers(len(self.candidates[i]))] for i in images]
        return self.emb[self.places[picks]].float()


def fade(side):
    """How much of the prediction is seen at each pixel of the region, in a rect of `side` pixels."""
    place = (faces.MARGIN + torch.arange(faces.ROI) + 0.5) * side / faces.CROP
    inside = torch.minimum(place, side - place)
    # The prediction begins behind the crop's margin and what bicubic resizing reaches over it.
    margin = math.ceil(side * (faces.MARGIN + 2) / faces.CROP)
    t = ((inside - margin + 0.5) / (FEATHER + 1)).clamp(0, 1)
    across = t * t * (3 - 2 * t)
    return torch.minimum(across[None, :], across[:, None])


def within(first):
    """The part of a window from `first` on in which it sees all there is to see."""
    return slice(0 if first == 0 else 6, None if first == faces.ROI - WINDOW else -6)


def MOUTHS(clips):
    """The mouths that speech of a middling level asks for."""
    return np.concatenate([speech.mouth(speech.mel(0.6 * clip)) for clip in clips[::3]])


def held_out(args, encoder):
    """Frames of the held-out voice: visual tensors, windows, and what should be painted."""
    clip = speech.held_out()
    mel = speech.mel(clip)
    mouth, emb = speech.mouth(mel), features(encoder, mel)
    windows = emb[entries(range(len(emb)), len(emb))]
    artist = faces.Artist(args.artist)
    frames = np.linspace(20, len(emb) - 20, 36).astype(int)
    shut, wanted = [], []
    for turn, frame in enumerate(frames):
        person, pose = turn % 3, (7 * turn) % 100
        shut.append(artist.roi(person, pose, *faces.SHUT))
        wanted.append(artist.roi(person, pose, *mouth[frame]))
    return visual(np.stack(shut)), windows[frames], np.stack(wanted), np.stack(shut), mouth[frames]


def evaluate(generator, held, path=None):
    seen, windows, wanted, shut, _ = held
    with torch.no_grad():
        got = torch.cat([generator(a, w.reshape(-1, 32, 16, 16)) for a, w in zip(seen.split(6), windows.split(6))])
    got = (got * 255).byte().permute(0, 2, 3, 1).numpy()[..., ::-1]
    seen = fade(RECT_SIDE)[..., None].numpy()
    got = seen * got + (1 - seen) * shut
    error = ((got.astype(float) - wanted) ** 2).mean((1, 2, 3))
    still = ((shut.astype(float) - wanted) ** 2).mean((1, 2, 3))
    psnr = 10 * np.log10(255**2 / error)
    print(f"  held out: PSNR {psnr.mean():.2f} dB, worst {psnr.min():.2f}; the shut mouth {10 * np.log10(255**2 / still.mean()):.2f}", flush=True)
    if path:
        rows = [np.concatenate([np.concatenate([a[40:260, 40:280] for a in part[i : i + 9]], 1) for part in (wanted, got)]) for i in (0, 9)]
        cv2.imwrite(str(path), np.concatenate(rows)[..., ::-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("work", type=pathlib.Path)
    parser.add_argument("artist")
    parser.add_argument("--seconds", type=int, default=2400)
    parser.add_argument("--per-pose", type=int, default=12)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--start", type=pathlib.Path, help="a checkpoint to start from, where its weights fit")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--mouth", type=float, default=5, help="how much more what the mouth moves weighs")
    parser.add_argument("--squares", type=float, default=4, help="weight of squared errors beside absolute ones")
    parser.add_argument("--differences", type=float, default=0.5, help="weight of the errors of differences")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    cv2.setNumThreads(1)
    torch.manual_seed(args.seed)
    rng = np.random.default_rng(args.seed)
    trained = torch.load(args.work / "audio.pt")
    encoder, branch = AudioEncoder(), BranchReader()
    encoder.load_state_dict(trained["encoder"])
    # With --start it comes from there.
    if "branch" in trained:
        branch.load_state_dict(trained["branch"])
    encoder.eval()
    export(encoder, args.work / "audio_encoder.onnx", (torch.zeros(1, 1, 80, 16),), ["mel"], "emb")
    data = Data(args, encoder, rng)
    held = held_out(args, encoder)

    generator = Generator(CHANNELS, UP, FIRST)
    generator.audio.load_state_dict(branch.branch.state_dict())
    some = rng.integers(0, len(data.faces), 8)
    prepare(generator, visual(data.shut[data.background[some]]), data.windows(some, rng).reshape(-1, 32, 16, 16))
    if args.start:
        adopt(generator, torch.load(args.start))
    fixed = [generator.inc, generator.down[0]]
    for part in fixed:
        part.requires_grad_(False)
    with torch.no_grad():
        levels = [(x := generator.inc(visual(data.shut[i : i + 4])), generator.down[0](x)) for i in range(0, len(data.shut), 4)]
        x0, x1 = (torch.cat([level[i].half() for level in levels]) for i in (0, 1))
        del levels
        same = window_forward(generator, x0, x1, [0, 1], held[1][:2], 80, 80, WINDOW)
        whole = generator(visual(data.shut[:2]), held[1][:2].reshape(-1, 32, 16, 16))
        apart = (torch.sigmoid(same) - whole[:, :, 80:240, 80:240]).abs()[:, :, 8:-8, 8:-8].max()
        print(f"window against the whole: {apart:.4f}", flush=True)
    evaluate(generator, held)

    # The top level starts out copying and is to unlearn that only where it paints.
    top_level = [*generator.up[4].parameters(), *generator.out.parameters()]
    ids = {id(p) for p in top_level}
    below = [p for p in generator.parameters() if p.requires_grad and id(p) not in ids]
    parameters = below + top_level
    groups = [{"params": below, "share": 1.0}, {"params": top_level, "share": 0.4}]
    optimiser = torch.optim.AdamW(groups, lr=args.rate, weight_decay=1e-5)
    shown = fade(RECT_SIDE)[None, None]
    started, losses = time.time(), []
    for step in range(args.steps):
        # Up in the first twentieth, then down a half cosine.
        share = step / args.steps
        for group in optimiser.param_groups:
            group["lr"] = args.rate * group["share"] * (min(share / 0.05, 1) * 0.5 * (1 + np.cos(np.pi * share)) + 0.002)
        images = rng.integers(0, len(data.faces), args.batch)
        about_mouth = rng.random() < 0.6
        top = int(rng.integers(24, 112) if about_mouth else np.clip(rng.integers(-40, 201), 0, 160))
        left = int(rng.integers(56, 106) if about_mouth else np.clip(rng.integers(-40, 201), 0, 160))
        place = (slice(None), slice(top, top + WINDOW), slice(left, left + WINDOW))
        wanted, shut = target(data.faces[images][place]), target(data.shut[data.background[images]][place])
        background = data.background[images]
        got = torch.sigmoid(window_forward(generator, x0, x1, background, data.windows(images, rng), top, left, WINDOW))
        moved = (wanted - shut).abs().amax(1, keepdim=True)
        weight = 1 + args.mouth * functional.max_pool2d((moved > 0.03).float(), 7, 1, 3)
        # What the server fades out need not be painted.
        weight = weight * shown[:, :, top : top + WINDOW, left : left + WINDOW]
        # Near the window's edges the whole network sees more than the window does, unless they are the picture's.
        inner = (slice(None), slice(None), within(top), within(left))
        error = got - wanted
        loss = (weight * error.abs())[inner].mean() + args.squares * (weight * error * error)[inner].mean()
        error, weight = error[inner], weight[inner]
        for axis in (2, 3):
            loss = loss + args.differences * (weight.narrow(axis, 1, error.shape[axis] - 1) * error.diff(dim=axis).abs()).mean()
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        losses.append(loss.item())
        if step % 200 == 50:
            print(f"{step} steps {time.time() - started:.0f} s loss {np.mean(losses[-200:]):.4f}", flush=True)
            evaluate(generator, held, args.work / "held_out.png")
            finish(generator, args)
    evaluate(generator, held, args.work / "held_out.png")
    finish(generator, args)


def finish(generator, args):
    torch.save(generator.state_dict(), args.work / "generator.pt")
    export(generator, args.work / "unet.onnx", (torch.rand(1, 6, 320, 320), torch.randn(1, 32, 16, 16)), ["input", "audio"], "output")


if __name__ == "__main__":
    main()
