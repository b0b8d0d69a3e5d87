"""Training on one GPU at the tinyllama scale, with every modality's vocabulary and lengths.

For each vocabulary: MFU by the causal count of real tokens, tokens per second beside Hugging
Face's Trainer in the same session (its own Llama, SDPA, bf16, rows padded to their longest),
and memory.  Utterances are drawn with Libriheavy's lengths and random units: speed does not
depend on what they say.  ``--out FOLDER`` keeps a table of the kernels of two steps for each
vocabulary, and all figures as they come, so that a command that is cut short has not run in vain.

It needs torch for CUDA (2.11 or newer, which this project's constraints do not install),
transformers with accelerate, NumPy and safetensors; it runs from the repository without an
installation.  Compiling takes minutes for each vocabulary: where a command may last ten minutes,
give ``--modality`` once or twice in each.  ``--device cpu --scale laptop --steps 3`` tries the
script where there is no GPU.
"""
# ruff: noqa: E402 (beside this file lies a tokenize.py that Python's own modules must not find)

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).parents[1])

import argparse
import gc
import json
import tempfile
import time
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from transformers import LlamaForCausalLM, TrainerCallback, TrainingArguments
from transformers import Trainer as HfTrainer

from benchmarks.padded import Padded, padded_to_longest
from ray_slm.training import journal, order
from ray_slm.training.model import llama_config
from ray_slm.training.run import Run
from ray_slm.training.scale import (
    LAPTOP,
    MEDIUM,
    SMALL,
    TINYLLAMA,
    Batching,
    Optimizer,
    Scale,
    num_parameters,
    table_size,
)
from ray_slm.training.trainer import Trainer
from ray_slm.training.world import World

SCALES = {scale.name: scale for scale in (LAPTOP, SMALL, MEDIUM, TINYLLAMA)}
# (units, tokens per second) of the paper's six modalities.
VOCABULARIES = {
    "text-bpe": (2048, 4.5),
    "text-raw": (78, 14.53),
    "phone-bpe": (2048, 4.04),
    "phone-raw": (71, 9.97),
    "phone-repeat": (71, 50.0),
    "speech-hubert": (2048, 50.0),
}
MEAN_SECONDS, SD_SECONDS, SHORTEST_SECONDS, LONGEST_SECONDS = 14.8, 6.4, 2.0, 30.7
PROFILED_STEPS, TABLE_ROWS = 2, 25


class Drawn:
    """``Documents`` of random units, as long as Libriheavy's utterances are in a modality."""

    def __init__(self, number: int, vocab_size: int, rate: float) -> None:
        draw = np.random.default_rng(0)
        seconds = draw.normal(MEAN_SECONDS, SD_SECONDS, number)
        seconds = seconds.clip(SHORTEST_SECONDS, LONGEST_SECONDS)
        self.vocab_size = vocab_size
        self.ids = [f"drawn-{i:06d}" for i in range(number)]
        self.lengths = np.maximum(1, np.round(seconds * rate)).astype(np.int64)
        self.num_samples = np.round(16_000 * seconds).astype(np.int64)
        self._units = draw.integers(0, vocab_size, int(self.lengths.max()), dtype=np.uint16)

    def __len__(self) -> int:
        return len(self.ids)

    def tokens(self, i: int) -> np.ndarray:
        """Units of one document."""
        return self._units[: self.lengths[i]]


class Speed(NamedTuple):
    """Of the steps after the first ones."""

    tokens_per_second: float
    memory_bytes: int


def run_of(scale: Scale, documents: Drawn, utterances: int) -> Run:
    """A run in bf16 with no end in reach."""
    return Run(
        scale=scale,
        vocab_size=documents.vocab_size,
        optimizer=Optimizer(),
        batching=Batching(utterances_per_step=utterances),
        seed=0,
        total_tokens=10**12,
        checkpoints=(),
        precision="bf16",
    )


def ours(run: Run, documents: Drawn, world: World, steps: int, table: Path | None) -> dict:
    """Speed and MFU of our loop; warms up and compiles in the first steps.

    A step that compiles anew later on is seen in ``slowest_step``, in units of the median one.
    """
    _forget(world.device)
    trainer = Trainer(run, documents, world)
    warm = 2 if steps > 3 else 1
    paces = [trainer.step() for _ in range(steps)][warm:]
    if table is not None:
        table.write_text(profiled(trainer))
    trainer.feed.close()
    each = [pace.seconds for pace in paces]
    seconds = sum(each)
    flops = sum(pace.flops for pace in paces) / seconds
    return {
        "tokens_per_second": sum(pace.num_tokens for pace in paces) / seconds,
        "mfu": flops / journal.peak_flops_per_second(world.device, run.precision),
        "memory_bytes": journal.peak_memory_bytes(world.device),
        "padding_share": 1 - sum(p.num_tokens for p in paces) / sum(p.slots for p in paces),
        "data_wait_share": sum(pace.data_seconds for pace in paces) / seconds,
        "slowest_step": max(each) / float(np.median(each)),
    }


def profiled(trainer: Trainer) -> str:
    """A table of where the time of a few steps goes, kernel by kernel."""
    kinds = [torch.profiler.ProfilerActivity.CPU]
    on_gpu = trainer.world.device.type == "cuda"
    if on_gpu:
        kinds.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=kinds) as profile:
        for _ in range(PROFILED_STEPS):
            trainer.step()
    by = "self_cuda_time_total" if on_gpu else "self_cpu_time_total"
    return str(profile.key_averages().table(sort_by=by, row_limit=TABLE_ROWS))


class Stopwatch(TrainerCallback):
    """Notes when each step of Hugging Face's Trainer ends."""

    def __init__(self, device: torch.device) -> None:
        self.ends: list[float] = []
        self._device = device

    def on_step_end(self, args, state, control, **_unused) -> None:  # noqa: ANN001, ANN003
        """Called by the Trainer after an optimizer step."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        self.ends.append(time.perf_counter())


def hugging_face(
    run: Run, documents: Drawn, device: torch.device, steps: int, rows: int, folder: Path
) -> Speed:
    """The Trainer over the same utterances in micro-batches of ``rows`` padded ones."""
    _forget(device)
    model = LlamaForCausalLM._from_config(
        llama_config(run.scale, run.vocab_size), attn_implementation="sdpa"
    )
    per_step = run.batching.utterances_per_step
    batches = list(_batches(run, documents, steps))
    watch = Stopwatch(device)
    HfTrainer(
        model=model,
        args=_arguments(run, steps, rows, device, folder),
        train_dataset=Padded(documents, run.vocab_size, np.concatenate(batches)),
        data_collator=lambda found: padded_to_longest(found, run.vocab_size + 2),
        callbacks=[watch],
    ).train()
    assert len(watch.ends) == steps, f"{per_step} is no multiple of --hf-rows"
    tokens = sum(int((documents.lengths[batch] + 1).sum()) for batch in batches[1:])
    speed = tokens / (watch.ends[-1] - watch.ends[0])
    return Speed(speed, journal.peak_memory_bytes(device))


def _batches(run: Run, documents: Drawn, steps: int) -> Iterator[np.ndarray]:
    for step in range(steps):
        cursor = step * run.batching.utterances_per_step
        yield order.batch(run.seed, cursor, documents.lengths, run.batching)


def _arguments(
    run: Run, steps: int, rows: int, device: torch.device, folder: Path
) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=rows,
        gradient_accumulation_steps=run.batching.utterances_per_step // rows,
        max_steps=steps,
        train_sampling_strategy="sequential",
        optim="adamw_torch_fused",
        bf16=True,
        use_cpu=device.type == "cpu",
        save_strategy="no",
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )


def _forget(device: torch.device) -> None:
    """Models of before, and what was compiled for them: of each function few versions are kept."""
    torch.compiler.reset()
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def measure(options: argparse.Namespace, name: str) -> dict:
    """All figures of one modality's vocabulary."""
    vocab_size, rate = VOCABULARIES[name]
    documents = Drawn((options.steps + PROFILED_STEPS + 1) * options.utterances, vocab_size, rate)
    run = run_of(SCALES[options.scale], documents, options.utterances)
    device = torch.device(options.device)
    world = World(
        device=device,
        tokens_per_microbatch=options.microbatch,
        compiled=options.compile,
        static_shapes=options.compile,
        recompute=options.recompute,
    )
    table = options.out / f"{name}.txt" if options.out else None
    found = ours(run, documents, world, options.steps, table)
    found["parameters"] = num_parameters(run.scale, table_size(vocab_size))
    with tempfile.TemporaryDirectory() as folder:
        rival = hugging_face(run, documents, device, options.steps, options.hf_rows, Path(folder))
    found["vs_hf_trainer_padded"] = found["tokens_per_second"] / rival.tokens_per_second
    found["hf_memory_bytes"] = rival.memory_bytes
    return found


def options_of(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print the figures alone")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--scale", default="tinyllama", choices=sorted(SCALES))
    parser.add_argument("--modality", action="append", choices=list(VOCABULARIES))
    parser.add_argument("--steps", type=int, default=12, help="the first two warm up")
    parser.add_argument("--utterances", type=int, default=128, help="in each step")
    parser.add_argument("--microbatch", type=int, help="tokens, padding included")
    parser.add_argument("--hf-rows", type=int, default=16, help="utterances of its micro-batch")
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--recompute", action="store_true", help="activation checkpointing")
    parser.add_argument("--out", type=Path, help="a folder for tables of kernels and figures.json")
    return parser.parse_args(arguments)


def main() -> None:
    """Measure and print."""
    options = options_of()
    if options.device == "cpu":
        torch.set_num_threads(1)
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
    found = {}
    for name in options.modality or VOCABULARIES:
        found[name] = one = measure(options, name)
        if options.out:
            (options.out / "figures.json").write_text(json.dumps(found, indent=1) + "\n")
        if not options.json:
            print(
                f"{name:<15}{one['parameters'] / 1e6:>8.1f}M{one['tokens_per_second']:>10.0f} tok/s"
                f"  MFU {100 * one['mfu']:.1f} %  x{one['vs_hf_trainer_padded']:.2f} HF Trainer"
                f"  {one['memory_bytes'] / 1e9:.1f} GB (HF {one['hf_memory_bytes'] / 1e9:.1f})"
                f"  padding {100 * one['padding_share']:.1f} %",
                flush=True,
            )
    figures = {
        "mfu": min(one["mfu"] for one in found.values()),
        "vs_hf_trainer_padded": min(one["vs_hf_trainer_padded"] for one in found.values()),
        "data_wait_share": max(one["data_wait_share"] for one in found.values()),
        "peak_memory_gb": max(one["memory_bytes"] for one in found.values()) / 1e9,
    }
    print(json.dumps({"figures": {name: round(value, 4) for name, value in figures.items()}}))


if __name__ == "__main__":
    main()
