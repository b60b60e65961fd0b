#!/usr/bin/env python3
"""Trains the demo's audio encoder and the generator's audio branch to read the mouth from speech.

    python tools/demo/train_audio.py WORK [--seconds 2400] [--seed 1]

WORK keeps the synthesised speech and the results: audio.pt. About ten minutes on one core. Prints the correlation with
the driving opening and width on the held-out voice.
"""

import argparse
import pathlib
import time

import numpy as np
import torch
from torch import nn

import speech
from networks import ENTRIES, AudioEncoder, BranchReader, Reader

RUN = 32
CLIPS = 16


def augmented(clips, rng):
    """Every clip at a level and with a noise of its own; the mouth is that of the clean clip at that level."""
    result = []
    for clip in clips:
        clip = clip * 10 ** (rng.uniform(-16, 0) / 20)
        clean = speech.mel(clip)
        noise = rng.normal(size=len(clip)) * 10 ** (rng.uniform(-90, -52) / 20)
        noisy = speech.mel(clip + noise) if rng.random() < 0.7 else clean
        result.append((noisy, speech.mouth(clean)))
    return result


def entries(frames, count):
    """Which features stand in the windows of `frames` in a clip of `count`: see the audio contract."""
    return np.clip(np.asarray(frames)[:, None] + np.arange(-9, 7), 0, count - 1)


def batch(data, rng):
    mels, places, mouths, base = [], [], [], 0
    for _ in range(CLIPS):
        mel, mouth = data[rng.integers(len(data))]
        count = len(mouth)
        # Beyond the ends now and then, so that edges are seen as often as they matter.
        first = int(rng.integers(-6, max(1, count - RUN + 6)))
        frames = np.clip(np.arange(first, first + RUN), 0, count - 1)
        places_in_clip = entries(frames, count)
        used, inverse = np.unique(places_in_clip, return_inverse=True)
        starts = np.minimum((used * speech.MEL_PER_SECOND / speech.FPS).astype(int), len(mel) - 16)
        mels.append(np.stack([mel[start : start + 16].T for start in starts]))
        places.append(base + inverse.reshape(-1, ENTRIES))
        mouths.append(mouth[frames])
        base += len(used)
    mels = torch.from_numpy(np.concatenate(mels))[:, None]
    return mels, torch.from_numpy(np.concatenate(places)), torch.from_numpy(np.concatenate(mouths))


def loss_of(read, mouth):
    shut = (mouth[:, :1] == 0).float()
    error = (read - mouth).abs() * torch.tensor([1.0, 0.6])
    return error.mean() + 0.5 * (error[:, :1] * shut).mean() + 2 * ((read - mouth) ** 2).mean()


def features(encoder, mel):
    with torch.no_grad():
        return encoder(torch.from_numpy(speech.windows(mel))[:, None])


def evaluate(name, read, encoder, clip):
    mel = speech.mel(clip)
    mouth = speech.mouth(mel)
    emb = features(encoder, mel)
    with torch.no_grad():
        got = read(emb[entries(range(len(emb)), len(emb))]).numpy()
    silent = mouth[:, 0] == 0
    correlation = [np.corrcoef(got[:, i], mouth[:, i])[0, 1] for i in (0, 1)]
    print(
        f"{name}: opening r={correlation[0]:.4f} width r={correlation[1]:.4f} error {np.abs(got - mouth).mean(0)}"
        f" in silence at most {got[silent, 0].max():.3f}",
        flush=True,
    )


def train(model, parameters, steps, rate, step_loss, report):
    optimiser = torch.optim.AdamW(parameters, lr=rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps, pct_start=0.1)
    started = time.time()
    for step in range(steps):
        loss = step_loss()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % 250 == 249:
            print(f"{step + 1} loss {loss.item():.4f} {time.time() - started:.0f} s", flush=True)
            report()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("work", type=pathlib.Path)
    parser.add_argument("--seconds", type=int, default=2400)
    parser.add_argument("--steps", type=int, default=900)
    parser.add_argument("--branch-steps", type=int, default=300)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    rng = np.random.default_rng(args.seed)
    clips = speech.dataset(args.work, args.seconds, args.seed)
    data = [pair for _ in range(2) for pair in augmented(clips, rng)]
    print(f"{len(data)} clips, {sum(len(m) for _, m in data)} frames", flush=True)
    held_out = speech.held_out()

    encoder, reader = AudioEncoder(), Reader()

    def encoder_loss():
        mels, places, mouth = batch(data, rng)
        return loss_of(reader(encoder(mels)[places]), mouth)

    both = nn.ModuleList([encoder, reader])
    train(both, both.parameters(), args.steps, 2e-3, encoder_loss, lambda: evaluate("encoder", reader, encoder, held_out))

    branch = BranchReader()

    def branch_loss():
        mels, places, mouth = batch(data, rng)
        some = torch.randperm(len(places))[:128]
        with torch.no_grad():
            emb = encoder(mels)
        return loss_of(branch(emb[places[some]]), mouth[some])

    def report():
        branch.eval()
        evaluate("branch", branch, encoder, held_out)
        branch.train()

    train(branch, branch.parameters(), args.branch_steps, 2e-3, branch_loss, report)
    torch.save({"encoder": encoder.state_dict(), "branch": branch.state_dict()}, args.work / "audio.pt")


if __name__ == "__main__":
    main()
