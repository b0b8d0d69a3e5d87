"""One attempt at a run: what happens between the steps.

Every rank goes through the same calls; rank 0 alone writes, by a thread of its own.
"""

import dataclasses
import json
import time
from functools import partial
from pathlib import Path

import torch

from ray_slm.training import checkpoint, goodput, journal, objective, publishing
from ray_slm.training.events import Events
from ray_slm.training.journal import Journal, Listener, nobody
from ray_slm.training.objective import Validation
from ray_slm.training.packing import Documents
from ray_slm.training.run import Run, run_digest
from ray_slm.training.trainer import Pace, Trainer
from ray_slm.training.world import World
from ray_slm.training.writing import Interval, Writer

RESUME = "resume"
GOODPUT = "goodput"


class Session:
    """A trainer, and the files around it.  ``fork`` is the state a branch starts from."""

    def __init__(
        self,
        run: Run,
        train: Documents,
        dev: Documents,
        out: Path,
        scratch: Path,
        world: World,
        events: Events,
        fork: Path | None = None,
        listener: Listener = nobody,
    ) -> None:
        self._start = time.perf_counter()
        self.run, self.dev, self.out, self.scratch = run, dev, out, scratch
        self.world, self.events, self._fork = world, events, fork
        self.trainer = Trainer(run, train, world)
        self.digest = run_digest(run, train, dev)
        self.attempt = journal.next_attempt(scratch)
        self.rejected: tuple[checkpoint.Rejected, ...] = ()
        first = world.rank == 0
        self._journal = Journal(scratch, self.attempt, listener) if first else None
        self._writer, self._interval = Writer(), Interval()
        self._verified: list[Path] = []
        self._save_due = self._urgent = False
        self._paces: dict[int, Pace] = {}  # of steps that were not told yet
        self._peak = 1.0
        if world.rank == 0:
            self._peak = world.size * journal.peak_flops_per_second(world.device, run.precision)

    def resume(self) -> None:
        """Go on from the newest valid resume checkpoint, the one that rank 0 finds."""
        found = torch.zeros(2, dtype=torch.int64, device=self.world.device)
        if self.world.rank == 0:
            newest = checkpoint.newest_valid(self.scratch / RESUME, self.digest)
            self.rejected = newest.rejected
            if newest.folder is not None:
                self._verified.append(newest.folder)
                found += torch.tensor(_numbers(newest.folder), device=self.world.device)
        self.world.sum_over_ranks(found)
        step, attempt = found.tolist()
        if attempt:
            folder = self.scratch / RESUME / _name(step, attempt)
            self.trainer.restore(checkpoint.load(folder, self.world.device))
        elif self._fork is not None:
            self.trainer.branch_off(checkpoint.load(self._fork, self.world.device))
        seconds = time.perf_counter() - self._start
        self._tell({"event": "start", "init_seconds": seconds, "workers": self.world.size})

    def step(self) -> None:
        """Train on one batch and tell of it."""
        pace = self.trainer.step()
        self._paces[self.trainer.progress.step] = pace
        self._hear()
        every, step = self.world.resume_every_steps, self.trainer.progress.step
        regular = self._interval.due() if every is None else step % every == 0
        self._save_due = self._urgent or regular
        self._writer.check()

    def _hear(self) -> None:
        """Tell of the steps whose figures have come: on a GPU that is the one before the last."""
        for point in self.trainer.points[-len(self._paces) :] if self._paces else ():
            pace = self._paces.pop(point.step, None)
            if pace is None:
                continue
            if self._journal is not None:
                speed = {
                    "tokens_per_second": pace.num_tokens / pace.seconds,
                    "mfu": pace.flops / pace.seconds / self._peak,
                    "memory_bytes": journal.peak_memory_bytes(self.world.device),
                }
                line = point._asdict() | pace._asdict() | speed | {"attempt": self.attempt}
                self._journal.append(line)
            self._urgent |= bool(self.events.step(point._asdict()))

    def settle(self) -> None:
        """At a step boundary: measure and publish what is due, then save where we are."""
        if self._due() or self._validation_due() or self._save_due or self.run.forks:
            self.trainer.catch_up()
            self._hear()
        if self._due() or self._validation_due():
            self._validate()
        due = self._due()  # a run that gives up after this validation publishes what is left
        progress = self.trainer.progress
        # A step boundary before the fork: a branch itself trains up to it, at the peak rate.
        reach = progress.tokens + 2 * self.trainer.tokens_per_step
        forks = [fork for fork in self.run.forks[progress.forked :] if fork <= reach]
        if due or forks:
            self.trainer.progress = dataclasses.replace(
                progress,
                published=progress.published + len(due),
                forked=progress.forked + len(forks),
            )
        if due or forks or self._save_due:
            self._write(due, forks)
        self._save_due = self._urgent = False

    def finish(self) -> None:
        """Write the history, from the state alone, and the figures of the journal."""
        self.drain()
        if self._journal is None:
            return
        spent = goodput.goodput(journal.read_attempts(self.scratch))._asdict()
        told = {f"{GOODPUT}_{part}": seconds for part, seconds in spent.items()}
        self._tell({"event": GOODPUT, **told})
        points = [point._asdict() for point in self.trainer.points]
        validations = [validation._asdict() for validation in self.trainer.validations]
        every = journal.read_points(self.scratch)
        lines = [line for line in every if line.get("event", GOODPUT) == GOODPUT]
        steps = [line for line in lines if journal.is_step(line)]
        timing = {**journal.summarize(steps, self._peak, self.world.size), GOODPUT: spent}
        self.out.mkdir(parents=True, exist_ok=True)
        _write_lines(self.out / "losses.jsonl", points)
        _write_lines(self.out / "validation.jsonl", validations)
        _write_lines(self.out / "timing.jsonl", lines)
        _write_lines(self.out / "timing.json", [timing])

    def drain(self) -> None:
        """Wait for what the threads do.  Raises what the writer raised."""
        self._writer.wait()
        self.trainer.feed.drain()

    def close(self) -> None:
        """End the threads and the journal, whether the attempt came to its end or not."""
        self._writer.close()
        self.trainer.feed.close()
        if self._journal is not None:
            self._journal.close()

    def _due(self) -> list[int]:
        """Scheduled checkpoints that were reached; the last one waits for the end of the run."""
        progress, ended = self.trainer.progress, self.trainer.ended
        left = self.run.checkpoints[progress.published :]
        exact = self.run.ending.epochs is not None
        last = self.run.checkpoints[-1] if exact and left else None
        return [c for c in left if ended or (c <= progress.tokens and c != last)]

    def _validation_due(self) -> bool:
        progress, every = self.trainer.progress, self.run.validate_every_tokens
        last = self.trainer.validations[-1].tokens if self.trainer.validations else 0
        if progress.tokens == last and self.trainer.validations:
            return False
        if self.trainer.ended:
            return True
        return every is not None and progress.tokens // every > last // every

    def _validate(self) -> None:
        progress, start = self.trainer.progress, time.perf_counter()
        losses = objective.held_out_loss(
            self.trainer.model, self.dev, self.run.vocab_size, self.run.precision, self.world
        )
        validation = Validation(progress.step, progress.tokens, *losses)
        self.trainer.validations.append(validation)
        seconds = time.perf_counter() - start
        self._tell(validation._asdict() | {"validation_seconds": seconds})

    def _write(self, due: list[int], forks: list[int]) -> None:
        """Begin to write; an urgent checkpoint is on the disk when this returns."""
        if self.world.rank != 0:
            return
        start, name = time.perf_counter(), _name(self.trainer.progress.step, self.attempt)
        snapshot = self.trainer.snapshot(self.digest)
        about = [publishing.about(self.trainer, self.digest, tokens) for tokens in due]
        job = partial(self._write_files, snapshot, about, forks, name)
        self._writer.submit(job)
        if self._urgent:
            self._writer.wait()
        self._interval.saved(self._writer.seconds)
        seconds = {
            "checkpoint_blocked_seconds": time.perf_counter() - start,
            "checkpoint_write_seconds": self._writer.seconds,  # of the one before
        }
        self._tell({"event": "checkpoint", **seconds})

    def _write_files(
        self, snapshot: checkpoint.Saved, about: list[dict], forks: list[int], name: str
    ) -> None:
        """In the writer's thread: what others wait for first, then what this run resumes from."""
        for trainer_json in about:
            tokens = trainer_json["scheduled_tokens"]
            folder = publishing.publish(self.run, snapshot, trainer_json, self.out, self.scratch)
            self.events.published(tokens, folder)
        for fork in forks:
            folder = self.out / f"fork-{fork:012d}"
            if not folder.exists():
                checkpoint.save(self.out, folder.name, snapshot)
            self.events.published(fork, folder)
        root = self.scratch / RESUME
        self._verified.append(checkpoint.save(root, name, snapshot))
        checkpoint.prune(root, self._verified)
        self.events.saved()

    def _tell(self, line: dict) -> None:
        """A line of the journal that is not a step's."""
        if self._journal is None:
            return
        progress = self.trainer.progress
        where = {"step": progress.step, "tokens": progress.tokens, "attempt": self.attempt}
        self._journal.append(where | line)


def _name(step: int, attempt: int) -> str:
    return f"step-{step:09d}-{attempt:04d}"


def _numbers(folder: Path) -> tuple[int, int]:
    """Step and attempt of a resume checkpoint; attempts count from 1."""
    _, step, attempt = folder.name.split("-")
    return int(step), int(attempt)


def _write_lines(path: Path, rows: list[dict]) -> None:
    """One JSON object per line; a reader sees the whole file or none."""
    draft = path.with_name(f"{path.name}.tmp")
    draft.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    draft.replace(path)
