"""The live journal of a run, and the wall-clock figures computed from it.

Each attempt appends one JSON line per step to its own ``journal-<attempt>.jsonl``.  Times live
here and in the ``timing`` files only, so that everything else has the same bytes on every
machine.
"""

import contextlib
import json
import resource
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import torch

PATTERN = "journal-*.jsonl"
# Dense bf16 FLOP/s of the data sheets.
BF16_PEAKS = {"H200": 989e12, "H100": 989e12, "A800": 312e12, "A100": 312e12}
PROBE_SIZE = 1024  # rows and columns of the matrices of the speed probe


class Listener(Protocol):
    """Hears every line as it is written, in the process that trains; must not hold it up."""

    def __call__(self, line: Mapping[str, object]) -> None:
        """A line of the journal."""
        ...


def nobody(line: Mapping[str, object]) -> None:
    """Who listens when nobody does."""


class Journal:
    """Appends lines for one attempt; a person or a tracker may read along."""

    def __init__(self, folder: Path, attempt: int, listener: Listener = nobody) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._listener = listener
        self._file = (folder / f"journal-{attempt:04d}.jsonl").open("a", encoding="utf-8")

    def append(self, point: Mapping[str, object]) -> None:
        """Write one line, with the time of now, where readers see it at once."""
        line = {"time": time.time(), **point}
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        self._listener(line)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def next_attempt(folder: Path) -> int:
    """1 for a run that never started, else one more than its last attempt."""
    attempts = [int(path.stem.rpartition("-")[2]) for path in folder.glob(PATTERN)]
    return max(attempts, default=0) + 1


def read_attempts(folder: Path) -> list[list[dict]]:
    """All whole lines, attempt by attempt."""
    return [_read(path) for path in sorted(folder.glob(PATTERN))]


def read_points(folder: Path) -> list[dict]:
    """Lines of all attempts, once for each step, validation and event: what was redone counts."""
    points: dict[tuple[int, str], dict] = {}
    for attempt in read_attempts(folder):
        for point in attempt:
            kind = "a step" if is_step(point) else str(point.get("event", "a validation"))
            points[point["step"], kind] = point
    return [points[key] for key in sorted(points)]


def _read(path: Path) -> list[dict]:
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        with contextlib.suppress(json.JSONDecodeError):  # the last line of a killed attempt
            lines.append(json.loads(line))
    return lines


def is_step(point: Mapping[str, object]) -> bool:
    """Whether a line tells of a step; the others are validations and events."""
    return "loss" in point


def summarize(steps: list[dict], peak_flops_per_second: float, world_size: int) -> dict:
    """Speed of a run: real tokens per second, share of all workers' peak, share spent on data.

    The first step of an attempt, which warms up and compiles, is left out where others remain.
    """
    attempts = {point["attempt"]: point["step"] for point in reversed(steps)}
    steady = [point for point in steps if point["step"] != attempts[point["attempt"]]] or steps
    seconds = sum(point["seconds"] for point in steady)
    tokens = sum(point["num_tokens"] for point in steady)
    flops = sum(point["flops"] for point in steady)
    return {
        "world_size": world_size,
        "attempts": len(attempts),
        "steps": len(steps),
        "train_seconds": sum(point["seconds"] for point in steps),
        "train_cpu_seconds": sum(point["cpu_seconds"] for point in steps),
        "tokens_per_second": tokens / seconds if seconds else 0.0,
        "data_share": sum(p["data_seconds"] for p in steady) / seconds if seconds else 0.0,
        "padding_share": 1 - tokens / world_size / max(sum(p["slots"] for p in steady), 1),
        "flops_per_second": flops / seconds if seconds else 0.0,
        "peak_flops_per_second": peak_flops_per_second,
        "peak_memory_bytes": max((p["memory_bytes"] for p in steps), default=0),
        "mfu": flops / seconds / peak_flops_per_second if seconds else 0.0,
    }


def peak_memory_bytes(device: torch.device) -> int:
    """The most memory held so far: a GPU's allocations, else this process's resident set."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def peak_flops_per_second(device: torch.device, precision: str) -> float:
    """What MFU is measured against: the data sheet's dense bf16 peak, else a probe."""
    if device.type == "cuda" and precision == "bf16":
        name = torch.cuda.get_device_name(device)
        for model, peak in BF16_PEAKS.items():
            if model in name:
                return peak
    return matmul_flops_per_second(device, precision)


def matmul_flops_per_second(device: torch.device, precision: str) -> float:
    """What a plain square matrix product reaches here."""
    size = PROBE_SIZE if device.type == "cpu" else 8 * PROBE_SIZE
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    x = torch.rand(size, size, generator=torch.Generator().manual_seed(0)).to(device, dtype)
    best = float("inf")
    for _ in range(4):
        _synchronize(device)
        start = time.perf_counter()
        x @ x
        _synchronize(device)
        best = min(best, time.perf_counter() - start)
    return float(2 * size**3 / best)


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
