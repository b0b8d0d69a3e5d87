"""What a person sees while a study runs: a bar on a terminal, one plain line per 30 s in a log."""

import json
import sys
import time
from collections import Counter
from collections.abc import Sequence, Set
from pathlib import Path

from ray_slm.pace import read_pace
from ray_slm.scheduling.runner import Progress
from ray_slm.scheduling.stage import Stage
from ray_slm.scheduling.store import SCRATCH, Store

LINE_SECONDS = 30.0


class ProgressReport:
    """Called by the runner several times a second; prints rarely."""

    def __init__(self, store: Store, *, quiet: bool = False) -> None:
        self._store, self._quiet = store, quiet
        self._start = self._last_line = time.monotonic()
        self._bar = sys.stderr.isatty()
        self._seen: set[str] = set()

    def __call__(self, progress: Progress) -> None:
        """Show how far the run is."""
        if self._quiet:
            return
        now = time.monotonic()
        due = now - self._last_line >= (0.5 if self._bar else LINE_SECONDS)
        if not due and progress.done + progress.failed < progress.total:
            return
        line = self._line(progress, now - self._start)
        if self._bar:
            sys.stderr.write(f"\r\x1b[2K{line[: terminal_width()]}")
            if progress.done + progress.failed == progress.total:
                sys.stderr.write("\n")
            sys.stderr.flush()
        elif due or line not in self._seen:
            print(line, file=sys.stderr, flush=True)
        self._seen.add(line)
        self._last_line = now

    def _line(self, progress: Progress, elapsed: float) -> str:
        width = 20 * progress.done // max(progress.total, 1)
        bar = "#" * width + "." * (20 - width)
        running = ", ".join(self._running(progress.running))
        failed = f", {progress.failed} FAILED" if progress.failed else ""
        clock = f"{int(elapsed) // 60}:{int(elapsed) % 60:02d}"
        return f"[{bar}] {progress.done}/{progress.total} stages{failed}, {clock}, now: {running}"

    def _running(self, stages: Sequence[Stage]) -> list[str]:
        groups = Counter(stage.name.split("/")[0] for stage in stages)
        evaluations = groups.pop("evaluate", 0)
        lines = [
            f"{stage.name}{share_done(stage, self._store)}"
            for stage in stages
            if not stage.name.startswith("evaluate/")
        ]
        return [*lines, *([f"{evaluations} evaluations"] if evaluations else [])] or ["finishing"]


def terminal_width() -> int:
    """Columns of the terminal, less one so that a line never wraps."""
    import shutil

    return shutil.get_terminal_size().columns - 1


def share_done(stage: Stage, store: Store) -> str:
    """`` 43%`` of a training run that has journalled steps; of audio, with pace and time left."""
    scratch = store.path(stage.address) / SCRATCH
    if (pace := read_pace(scratch)) is not None:
        return f" {pace}"
    last = last_step(scratch)
    return f" {100 * last['tokens'] / stage.tokens:.0f}%" if last and stage.tokens else ""


def last_step(scratch: Path) -> dict | None:
    """The newest whole line of a run's live journal."""
    journals = sorted(scratch.glob("journal-*.jsonl"), key=lambda path: path.stat().st_mtime)
    if not journals:
        return None
    with journals[-1].open("rb") as file:
        file.seek(max(0, file.seek(0, 2) - 4096))
        lines = file.read().decode(errors="replace").splitlines()
    for line in reversed(lines):
        try:
            found = json.loads(line)
        except json.JSONDecodeError:  # the first line of the tail, or one being written
            continue
        if isinstance(found, dict) and "tokens" in found:
            return found
    return None


def state_of(stage: Stage, whole: Set[str]) -> str:
    """``done``, ``ready`` or ``waiting``; ``whole`` are the addresses of results there are."""
    if stage.address in whole:
        return "done"
    ready = all(artifact.address in whole for artifact in stage.inputs.values())
    return "ready" if ready else "waiting"


def addresses_of(stages: Sequence[Stage]) -> set[str]:
    """Addresses of all stages and of the parts that others read."""
    parts = {artifact.address for stage in stages for artifact in stage.inputs.values()}
    return parts | {stage.address for stage in stages}


def plan_rows(stages: Sequence[Stage], store: Store) -> list[dict]:
    """One JSON-ready row per stage, for `plan` and `status`."""
    whole = store.present(addresses_of(stages))
    return [
        {
            "stage": stage.name,
            "address": stage.address,
            "kind": type(stage.recipe).__name__,
            "state": state_of(stage, whole),
            "tokens": stage.tokens,
            "flops": stage.flops,
            "inputs": {role: artifact.address for role, artifact in stage.inputs.items()},
        }
        for stage in stages
    ]


def print_rows(rows: Sequence[dict], *, everything: bool) -> None:
    """A table of stages; evaluations are folded into one line per run unless asked."""
    folded: dict[str, Counter] = {}
    for row in rows:
        name = row["stage"]
        if name.startswith("evaluate/") and not everything:
            folded.setdefault("/".join(name.split("/")[:3]), Counter())[row["state"]] += 1
            continue
        size = f"{row['tokens']:>13,} tokens {row['flops']:>9.2e} FLOPs" if row["tokens"] else ""
        print(f"{row['state']:<8}{row['address']:<52}{size}".rstrip())
    for name, states in folded.items():
        counts = ", ".join(f"{n} {state}" for state, n in sorted(states.items()))
        print(f"{'':<8}{name}/*: {counts}")
    total = Counter(row["state"] for row in rows)
    flops = sum(row["flops"] for row in rows)
    print(
        f"{len(rows)} stages: {', '.join(f'{n} {s}' for s, n in sorted(total.items()))}; "
        f"{sum(row['tokens'] for row in rows):,} training tokens, {flops:.2e} FLOPs"
    )
