"""One attempt at a run: what happens between the steps.

Every rank goes through the same calls; rank 0 alone writes.
"""

import dataclasses
import json
from pathlib import Path

import torch

from ray_slm.training import checkpoint, journal, objective
from ray_slm.training.events import Events
from ray_slm.training.journal import Journal
from ray_slm.training.model import config_json
from ray_slm.training.objective import Validation
from ray_slm.training.packing import Documents
from ray_slm.training.run import Run, run_digest
from ray_slm.training.scale import num_parameters, table_size
from ray_slm.training.trainer import Trainer
from ray_slm.training.world import World

RESUME = "resume"
DRAFT = "publishing.tmp"


class Session:
    """A trainer, and the files around it."""

    def __init__(
        self,
        run: Run,
        train: Documents,
        dev: Documents,
        out: Path,
        scratch: Path,
        world: World,
        events: Events,
    ) -> None:
        self.run, self.dev, self.out, self.scratch = run, dev, out, scratch
        self.world, self.events = world, events
        self.trainer = Trainer(run, train, world)
        self.digest = run_digest(run, train, dev)
        self.attempt = journal.next_attempt(scratch)
        self.rejected: tuple[checkpoint.Rejected, ...] = ()
        self._journal = Journal(scratch, self.attempt) if world.rank == 0 else None
        self._verified: list[Path] = []
        self._save_due = False

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

    def step(self) -> None:
        """Train on one batch and tell of it."""
        pace = self.trainer.step()
        point = self.trainer.points[-1]._asdict()
        if self._journal is not None:
            self._journal.append(point | pace._asdict() | {"attempt": self.attempt})
        urgent = self.events.step(point)
        regular = self.trainer.progress.step % self.world.resume_every_steps == 0
        self._save_due = bool(urgent) or regular

    def settle(self) -> None:
        """At a step boundary: measure and publish what is due, then save where we are."""
        progress, checkpoints = self.trainer.progress, self.run.checkpoints
        due = [c for c in checkpoints[progress.published :] if c <= progress.tokens]
        if due or self._validation_due():
            self._validate()
        for tokens in due:
            self._publish(tokens)
        if due:
            published = progress.published + len(due)
            self.trainer.progress = dataclasses.replace(progress, published=published)
        if due or self._save_due:
            self._save()

    def finish(self) -> None:
        """Write the history, from the state alone, and the figures of the journal."""
        if self._journal is None:
            return
        points = [point._asdict() for point in self.trainer.points]
        validations = [validation._asdict() for validation in self.trainer.validations]
        lines = journal.read_points(self.scratch)
        steps = [line for line in lines if journal.is_step(line)]
        peak = journal.matmul_flops_per_second(self.world.device, self.run.precision)
        timing = journal.summarize(steps, peak, self.world.size)
        self.out.mkdir(parents=True, exist_ok=True)
        _write_lines(self.out / "losses.jsonl", points)
        _write_lines(self.out / "validation.jsonl", validations)
        _write_lines(self.out / "timing.jsonl", lines)
        _write_lines(self.out / "timing.json", [timing])

    def close(self) -> None:
        """Close the journal, whether the attempt came to its end or not."""
        if self._journal is not None:
            self._journal.close()

    def _validation_due(self) -> bool:
        progress, every = self.trainer.progress, self.run.validate_every_tokens
        last = self.trainer.validations[-1].tokens if self.trainer.validations else 0
        if progress.tokens == last and self.trainer.validations:
            return False
        if progress.tokens >= self.run.total_tokens:
            return True
        return every is not None and progress.tokens // every > last // every

    def _validate(self) -> None:
        progress = self.trainer.progress
        losses = objective.held_out_loss(
            self.trainer.model, self.dev, self.run.vocab_size, self.run.precision, self.world
        )
        validation = Validation(progress.step, progress.tokens, *losses)
        self.trainer.validations.append(validation)
        if self._journal is not None:
            self._journal.append(validation._asdict() | {"attempt": self.attempt})

    def _publish(self, tokens: int) -> None:
        if self.world.rank != 0:
            return
        folder = self.out / f"checkpoint-{tokens:012d}"
        checkpoint.publish(
            folder,
            self.scratch / DRAFT,
            self.trainer.model.state_dict(),
            config_json(self.run.scale, self.run.vocab_size),
            self._about(tokens),
        )
        self.events.published(tokens, folder)

    def _about(self, tokens: int) -> dict:
        """What ``trainer.json`` says of a published model."""
        run, done = self.run, self.trainer.progress
        last = self.trainer.points[-1] if self.trainer.points else None
        held_out = self.trainer.validations[-1]
        rows = table_size(run.vocab_size)
        return {
            "schema": 1,
            "scheduled_tokens": tokens,
            "step": done.step,
            "tokens": done.tokens,
            "utterances": done.utterances,
            "epochs": done.utterances / len(self.trainer.documents),
            "seconds_of_audio": done.samples / objective.SAMPLE_RATE_HZ,
            "flops": done.flops,
            "train_loss": last.loss if last else None,
            "nats_per_token": held_out.nats_per_token,
            "bits_per_second": held_out.bits_per_second,
            "parameters": num_parameters(run.scale, rows),
            "world_size": self.world.size,
            "tokens_per_microbatch": self.world.microbatch,
            "run": dataclasses.asdict(run),
            "run_digest": self.digest,
        }

    def _save(self) -> None:
        self._save_due = False
        if self.world.rank != 0:
            return
        root, name = self.scratch / RESUME, _name(self.trainer.progress.step, self.attempt)
        self._verified.append(checkpoint.save(root, name, self.trainer.snapshot(self.digest)))
        checkpoint.prune(root, self._verified)


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
