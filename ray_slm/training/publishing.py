"""A model for others to read: its weights at a scheduled count of tokens, and what they are."""

import dataclasses
from pathlib import Path

from ray_slm.training import checkpoint, objective
from ray_slm.training.checkpoint import Saved
from ray_slm.training.model import config_json
from ray_slm.training.run import Run
from ray_slm.training.scale import num_parameters, table_size
from ray_slm.training.trainer import Trainer

DRAFT = "publishing.tmp"


def publish(run: Run, snapshot: Saved, about: dict, out: Path, scratch: Path) -> Path:
    """Write ``checkpoint-<tokens>`` into ``out``, unless it exists, and return it."""
    folder = out / f"checkpoint-{about['scheduled_tokens']:012d}"
    config = config_json(run.scale, run.vocab_size)
    checkpoint.publish(folder, scratch / DRAFT, snapshot.groups["model"], config, about)
    return folder


def about(trainer: Trainer, run_digest: str, tokens: int) -> dict:
    """What ``trainer.json`` says of the model scheduled at ``tokens``."""
    run, done = trainer.run, trainer.progress
    last = trainer.points[-1] if trainer.points else None
    held_out = trainer.validations[-1]
    rows = table_size(run.vocab_size)
    return {
        "schema": 1,
        "scheduled_tokens": tokens,
        "step": done.step,
        "tokens": done.tokens,
        "utterances": done.utterances,
        "epochs": done.utterances / len(trainer.documents),
        "seconds_of_audio": done.samples / objective.SAMPLE_RATE_HZ,
        "flops": done.flops,
        "train_loss": last.loss if last else None,
        "nats_per_token": held_out.nats_per_token,
        "bits_per_second": held_out.bits_per_second,
        "parameters": num_parameters(run.scale, rows),
        "world_size": trainer.world.size,
        "tokens_per_microbatch": trainer.world.microbatch,
        "run": dataclasses.asdict(run),
        "run_digest": run_digest,
    }
