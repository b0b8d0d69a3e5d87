"""Documents in memory, and a model small enough to train in milliseconds."""

import numpy as np
import pytest
import torch

from ray_slm.training.run import Run
from ray_slm.training.scale import Batching, Optimizer, Scale

VOCAB_SIZE = 20
TINY = Scale(name="tiny", layers=2, heads=4, kv_heads=2, width=32, ffn=48, window=64)


class InMemory:
    """A ``Documents`` whose units follow a rule that a model can learn."""

    def __init__(self, name, num_documents, shortest=1, longest=50, vocab_size=VOCAB_SIZE):
        draw = np.random.default_rng(sum(map(ord, name)))
        self.ids = [f"{name}-{i:04d}" for i in range(num_documents)]
        self.lengths = draw.integers(shortest, longest + 1, num_documents)
        starts = draw.integers(0, vocab_size, num_documents)
        self.units = [
            ((start + 3 * np.arange(length)) % vocab_size).astype(np.uint16)
            for start, length in zip(starts, self.lengths, strict=True)
        ]
        self.num_samples = self.lengths * 320 + 80

    def __len__(self):
        return len(self.ids)

    def tokens(self, index):
        return self.units[index]


def make_run(**changes):
    """A run of about 25 steps of 4 utterances."""
    values = {
        "scale": TINY,
        "vocab_size": VOCAB_SIZE,
        "optimizer": Optimizer(peak_lr=3e-3),
        "batching": Batching(utterances_per_step=4),
        "seed": 5,
        "total_tokens": 2500,
        "checkpoints": (0, 1000, 2500),
    }
    return Run(**(values | changes))


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def documents():
    """A factory of documents."""
    return InMemory


@pytest.fixture
def run():
    """A factory of runs: keyword arguments replace fields."""
    return make_run


@pytest.fixture
def train():
    return InMemory("train", 30)


@pytest.fixture
def dev():
    return InMemory("dev", 9)
