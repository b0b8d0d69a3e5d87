"""Attention kernels and precisions on this processor: what ``kernel_for`` and a study choose from.

Forward and backward pass of a laptop-scale model over rows of one length, each holding two
documents: plain matrix products and the fused kernel (SDPA), fp32 and bf16, with and without
torch.compile, beside Hugging Face's own Llama with SDPA in bf16 on rows without a mask.  Variants
take turns; processor seconds, medians.  A choice is made here and written into the code, never at
run time: another kernel gives other last digits, and a run must give the same bytes everywhere.
"""
# ruff: noqa: E402 (beside this file lies a tokenize.py that Python's own modules must not find)

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).parents[1])

import argparse
import json
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from transformers import LlamaForCausalLM

from ray_slm.training import objective
from ray_slm.training.attention import Kernel, kernel_for
from ray_slm.training.model import initialized, llama_config
from ray_slm.training.objective import Batch
from ray_slm.training.scale import LAPTOP

VOCAB_SIZE = 78
LENGTHS = (128, 256, 1024)
TOKENS = 4096  # in each turn
KERNELS: tuple[Kernel, ...] = ("matmul", "sdpa")
CPU = torch.device("cpu")


class Variant(NamedTuple):
    """One of ours."""

    kernel: Kernel
    precision: str
    compiled: bool = False

    @property
    def name(self) -> str:
        """As printed."""
        return f"{self.kernel} {self.precision}{' compiled' if self.compiled else ''}"


VARIANTS = (
    *(Variant(kernel, precision) for precision in ("fp32", "bf16") for kernel in KERNELS),
    *(Variant(kernel, "bf16", compiled=True) for kernel in KERNELS),
)
HF = "Hugging Face, SDPA, bf16"


def batch_of(length: int) -> Batch:
    """Rows of two documents."""
    ids = torch.randint(0, VOCAB_SIZE, (TOKENS // length, length + 1))
    column = torch.arange(length).expand(len(ids), -1)
    document, position = column // (length // 2), column % (length // 2)
    return Batch(ids[:, :-1], position, document, ids[:, 1:].contiguous())


def ours(variant: Variant, batch: Batch) -> Callable[[], None]:
    """A turn of our model; compiled, if it is to be, by a first one."""
    model = initialized(LAPTOP, VOCAB_SIZE, 0)
    model.kernel = variant.kernel
    losses = objective.token_losses
    if variant.compiled:
        losses = torch.compile(losses, dynamic=False)

    def turn() -> None:
        with objective.precision_context(variant.precision, CPU):
            summed = losses(model, batch, VOCAB_SIZE).sum()
        summed.backward()

    turn()
    return turn


def hugging_face(batch: Batch) -> Callable[[], None]:
    """A turn of Hugging Face's, which sees each row as one document."""
    config = llama_config(LAPTOP, VOCAB_SIZE)
    model = LlamaForCausalLM._from_config(config, attn_implementation="sdpa")

    def turn() -> None:
        with objective.precision_context("bf16", CPU):
            loss = model(batch.ids_BT, labels=batch.targets_BT, shift_labels=batch.targets_BT).loss
        loss.backward()

    turn()
    return turn


def seconds_of(length: int, num_turns: int) -> dict[str, float]:
    """Processor seconds of a turn of each, by name."""
    batch = batch_of(length)
    turns = {variant.name: ours(variant, batch) for variant in VARIANTS}
    turns[HF] = hugging_face(batch)
    costs: dict[str, list[float]] = {name: [] for name in turns}
    for _ in range(num_turns):
        for name, turn in turns.items():
            start = time.process_time()
            turn()
            costs[name].append(time.process_time() - start)
    return {name: float(np.median(cost)) for name, cost in costs.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print the figures alone")
    parser.add_argument("--turns", type=int, default=15, help="of each variant and length")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = {}
    for length in LENGTHS:
        torch.compiler.reset()
        found[length] = seconds_of(length, options.turns)
    if not options.json:
        print(f"{'thousands of tokens a second':<32}" + "".join(f"{n:>8}" for n in LENGTHS))
        for name in found[LENGTHS[0]]:
            speeds = "".join(f"{TOKENS / found[n][name] / 1000:>8.1f}" for n in LENGTHS)
            print(f"{name:<32}{speeds}")
    chosen = kernel_for(CPU, torch.bfloat16)
    (other,) = (kernel for kernel in KERNELS if kernel != chosen)
    figures: dict[str, float] = {}
    for length, seconds in found.items():
        of = {v: seconds[v.name] for v in VARIANTS}
        mine = of[Variant(chosen, "bf16")]
        figures |= {
            f"chosen_vs_other_kernel_{length}": of[Variant(other, "bf16")] / mine,
            f"bf16_vs_fp32_{length}": of[Variant(chosen, "fp32")] / mine,
            f"vs_hf_sdpa_{length}": seconds[HF] / mine,
            f"compiled_vs_hf_sdpa_{length}": seconds[HF] / of[Variant(chosen, "bf16", True)],
        }
    print(json.dumps({"figures": {name: round(value, 4) for name, value in figures.items()}}))


if __name__ == "__main__":
    main()
