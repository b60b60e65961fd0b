"""The demo's networks: the generator of SyncTalk_2D's shape with fewer channels, and a small audio encoder.

The channels are chosen for the embedded engine, which spends most of its time in the depthwise convolutions of the two
upper levels: those are as thin as colours can pass through, and the levels below, which cost little, are not.
"""

import pathlib
import sys

import torch
from torch import nn

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from make_full_size_network import Generator, audio_branch, export, settle  # noqa: E402, F401

CHANNELS = [4, 8, 16, 64, 128]
UP = [16, 8, 8, 4, 4]
FIRST = 4
FEATURE = 512
ENTRIES = 16


class AudioEncoder(nn.Module):
    """mel [N,1,80,16] to emb [N,512]: five convolutions that halve the window, one that widens the result."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 16, 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(64, 96, 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(96, 128, (5, 1)),
            nn.ReLU(),
            nn.Conv2d(128, FEATURE, 1),
        )

    def forward(self, mel):
        return self.layers(mel).flatten(1)


class Reader(nn.Module):
    """Reads the mouth from a window [N,16,512]; only for training the encoder."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv1d(FEATURE, 48, 1), nn.ReLU(), nn.Flatten(), nn.Linear(48 * ENTRIES, 64), nn.ReLU(), nn.Linear(64, 2)
        )

    def forward(self, window):
        return self.layers(window.transpose(1, 2))


class BranchReader(nn.Module):
    """Reads the mouth through the generator's own audio branch, so that the branch starts out knowing speech."""

    def __init__(self):
        super().__init__()
        self.branch = audio_branch(CHANNELS)
        self.head = nn.Linear(CHANNELS[4], 2)

    def forward(self, window):
        return self.head(self.branch(window.reshape(-1, 32, 16, 16)).mean((2, 3)))


def fold(module):
    """Folds every batch normalisation into the convolution before it: the same function, and what is exported anyway."""
    for parent in module.modules():
        if not isinstance(parent, nn.Sequential):
            continue
        layers = list(parent)
        for first, second in zip(layers, layers[1:]):
            if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
                parent[layers.index(first)] = nn.utils.fuse_conv_bn_eval(first.eval(), second.eval())
                parent[layers.index(second)] = nn.Identity()
    return module
