"""Training at laptop scale on one core, beside Hugging Face's Trainer and a bare PyTorch loop.

All three train the same model on the same utterances in the same order and precision, the paper's
128 in each step (``--utterances 16`` is the laptop study's step), in turns of one step, so that
whatever else the machine does hits all alike.  Hugging Face's side is its own Llama with SDPA,
each step's utterances padded to their longest (``--hf-rows 16``: in micro-batches of 16, each
padded to its own longest, which wastes less and fits a cache better).  The bare loop has its
batches packed beforehand and keeps no journal, no checkpoint and no check.  Ratios are of useful
tokens (units and EOS) per CPU second, summed over one median turn of every modality; wall-clock
ratios stand beside them.  Data wait is a share of our wall time.  A checkpoint's cost is timed to
the last byte on the disk, as if training stood still meanwhile, and divided by the interval at
which the product takes them (Young/Daly, ``training.writing``).
"""
# ruff: noqa: E402 (beside this file lies a tokenize.py that Python's own modules must not find)

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).parents[1])

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
import torch
from transformers import LlamaForCausalLM, Trainer, TrainerCallback, TrainingArguments

from benchmarks.laptop_tokens import tokenized
from benchmarks.padded import Padded, padded_to_longest
from ray_slm.studies.laptop import STUDY
from ray_slm.tokens import TokenStore
from ray_slm.training import journal, objective, order
from ray_slm.training.events import Silent
from ray_slm.training.feed import prepare
from ray_slm.training.model import initialized, llama_config
from ray_slm.training.run import Run
from ray_slm.training.scale import LAPTOP, Batching
from ray_slm.training.session import Session
from ray_slm.training.world import World
from ray_slm.training.writing import Interval

TIMED_CHECKPOINTS = 5


class Urgent(Silent):
    """Asks for a checkpoint after each step once it is ``on``; training waits for such ones."""

    on = False

    def step(self, point: Mapping[str, float]) -> bool:
        """Whether to save now."""
        return self.on


class Cost(NamedTuple):
    """CPU and wall seconds of one turn."""

    cpu: float
    wall: float


class Clock:
    """Charges what happens between two calls to whoever is named at the second."""

    def __init__(self) -> None:
        self.costs: dict[str, list[Cost]] = {"ours": [], "bare": [], "hf": []}
        self._mark = Cost(time.process_time(), time.perf_counter())

    def charge(self, name: str) -> None:
        """The time since the last call was ``name``'s turn."""
        now = Cost(time.process_time(), time.perf_counter())
        self.costs[name].append(Cost(*(b - a for a, b in zip(self._mark, now, strict=True))))
        self._mark = Cost(time.process_time(), time.perf_counter())


def run_of(train: TokenStore, utterances: int) -> Run:
    """The laptop study's run, with no end in reach and no checkpoint for evaluation."""
    return Run(
        scale=LAPTOP,
        vocab_size=train.vocab_size,
        optimizer=STUDY.optimizer,
        batching=Batching(utterances_per_step=utterances),
        seed=0,
        total_tokens=10**9,
        checkpoints=(),
        precision=STUDY.precision,
    )


def ours(session: Session) -> Iterator[None]:
    """Our loop as `fit` runs it: journal, resume checkpoints, prefetch."""
    session.resume()
    while True:
        session.step()
        session.settle()
        yield


def bare(run: Run, train: TokenStore, num_steps: int) -> Iterator[None]:
    """A loop over batches packed beforehand, and nothing else."""
    model, cursor, batches = initialized(run.scale, run.vocab_size, run.seed), 0, []
    for _ in range(num_steps):
        batches.append(prepare(run, train, World(), cursor))
        cursor += len(batches[-1].indices)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.95), fused=True)
    for prepared in batches:
        for batch in prepared.batches:
            with torch.autocast("cpu", torch.bfloat16, enabled=run.precision == "bf16"):
                losses_BT = objective.token_losses(model, batch, run.vocab_size)
            (losses_BT.sum() / prepared.num_tokens).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        yield


class TakeTurns(TrainerCallback):
    """Lets the others run after every step of Hugging Face's Trainer."""

    def __init__(self, others: Callable[[], None]) -> None:
        self._others = others

    def on_step_end(self, args, state, control, **_unused) -> None:  # noqa: ANN001, ANN003
        """Called by the Trainer after an optimizer step."""
        self._others()


def hugging_face(
    run: Run, train: TokenStore, shape: tuple[int, int], folder: Path, turn: Callable[[], None]
) -> Trainer:
    """The Trainer over the same utterances; ``shape`` is (steps, rows of a micro-batch)."""
    num_steps, rows = shape
    model = LlamaForCausalLM._from_config(
        llama_config(run.scale, run.vocab_size), attn_implementation="sdpa"
    )
    per_step = run.batching.utterances_per_step
    indices = np.concatenate(
        [
            order.batch(run.seed, step * per_step, train.lengths, run.batching)
            for step in range(num_steps)
        ]
    )
    values = run.optimizer
    arguments = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=rows,
        gradient_accumulation_steps=per_step // rows,
        max_steps=num_steps,
        train_sampling_strategy="sequential",
        learning_rate=values.peak_lr,
        lr_scheduler_type="cosine",
        weight_decay=values.weight_decay,
        adam_beta2=values.beta2,
        max_grad_norm=values.clip_norm,
        optim="adamw_torch_fused",
        bf16=run.precision == "bf16",
        use_cpu=True,
        save_strategy="no",
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )
    return Trainer(
        model=model,
        args=arguments,
        train_dataset=Padded(train, run.vocab_size, indices),
        data_collator=lambda rows: padded_to_longest(rows, run.vocab_size + 2),
        callbacks=[TakeTurns(turn)],
    )


def measure(
    stores: tuple[TokenStore, TokenStore], options: argparse.Namespace, folder: Path
) -> dict:
    """Costs of all turns of one modality but the first, and what our journal says."""
    train, dev = stores
    run, shape = run_of(train, options.utterances), (options.turns, options.hf_rows)
    events = Urgent()
    session = Session(run, train, dev, folder, folder / "scratch", World(), events)
    mine = ours(session)
    loops = [("ours", mine), ("bare", bare(run, train, options.turns))]
    clock = Clock()

    def turn() -> None:
        clock.charge("hf")
        loops.reverse()  # who comes after Hugging Face finds colder caches
        for name, loop in loops:
            next(loop)
            session.drain()  # what our threads do is ours to pay
            clock.charge(name)

    hugging_face(run, train, shape, folder / "hf", turn).train()
    events.on = True
    for _ in range(TIMED_CHECKPOINTS):
        next(mine)
    session.close()
    lines = [line for attempt in journal.read_attempts(folder / "scratch") for line in attempt]
    steps = [line for line in lines if journal.is_step(line)]
    return {
        "costs": {name: [*costs[1:]] for name, costs in clock.costs.items()},
        "seconds": sum(line["seconds"] for line in steps),
        "data_seconds": sum(line["data_seconds"] for line in steps),
        "checkpoint_share": checkpoint_share(lines),
    }


def checkpoint_share(lines: list[dict]) -> float:
    """A checkpoint's cost in units of the interval that is kept between two."""
    blocked = [line.get("checkpoint_blocked_seconds") for line in lines]
    cost = float(np.median([seconds for seconds in blocked if seconds][-TIMED_CHECKPOINTS:]))
    return cost / (Interval.ideal_seconds(cost) + cost)


def ratio(costs: dict[str, list[Cost]], rival: str, kind: str) -> float:
    """How many times the rival's time we take less: the median over turns."""
    pairs = zip(costs[rival], costs["ours"], strict=True)
    return float(np.median([getattr(theirs, kind) / getattr(mine, kind) for theirs, mine in pairs]))


def total_ratio(found: dict[str, dict], rival: str, kind: str) -> float:
    """The same over one median turn of every modality: long utterances weigh most."""
    sums = {
        name: sum(
            float(np.median([getattr(cost, kind) for cost in one["costs"][name]]))
            for one in found.values()
        )
        for name in (rival, "ours")
    }
    return sums[rival] / sums["ours"]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print the figures alone")
    parser.add_argument("--hours", type=float, default=0.7, help="speech to make tokens from")
    parser.add_argument("--turns", type=int, default=9, help="turns of each; one warms up")
    parser.add_argument("--utterances", type=int, default=128, help="in each step")
    parser.add_argument("--hf-rows", type=int, help="of its micro-batch; else the whole step")
    parser.add_argument("--root", type=Path, help="keep the tokens here for another time")
    options = parser.parse_args()
    options.hf_rows = options.hf_rows or options.utterances
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        stores = tokenized(options.root or Path(scratch) / "root", options.hours)
        found = {
            name: measure(of_modality, options, Path(scratch) / name)
            for name, of_modality in stores.items()
        }
    if not options.json:
        print(f"{'modality':<14}{'vs HF':>8}{'(wall)':>8}{'vs bare':>9}{'(wall)':>8}")
        for name, one in found.items():
            row = [ratio(one["costs"], r, k) for r in ("hf", "bare") for k in ("cpu", "wall")]
            print(f"{name:<14}{row[0]:>8.2f}{row[1]:>8.2f}{row[2]:>9.3f}{row[3]:>8.3f}")
    figures = {
        "vs_hf_trainer_padded": total_ratio(found, "hf", "cpu"),
        "vs_hf_trainer_padded_wall": total_ratio(found, "hf", "wall"),
        "vs_bare_loop": total_ratio(found, "bare", "cpu"),
        "vs_bare_loop_wall": total_ratio(found, "bare", "wall"),
        "data_wait_share": sum(one["data_seconds"] for one in found.values())
        / sum(one["seconds"] for one in found.values()),
        "checkpoint_share": max(one["checkpoint_share"] for one in found.values()),
    }
    print(json.dumps({"figures": {name: round(value, 4) for name, value in figures.items()}}))


if __name__ == "__main__":
    main()
