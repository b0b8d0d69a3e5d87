"""Train one model from wherever it stands: resume, step, measure, publish, write the history.

Same seed and worker count give the same losses.  A killed run, started again, continues from its
newest valid checkpoint to the same losses and the same bytes in every file that holds no times.
"""

import contextlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ray_slm.training.events import Events, Silent
from ray_slm.training.journal import Listener, nobody
from ray_slm.training.packing import Documents
from ray_slm.training.run import Run
from ray_slm.training.session import Session
from ray_slm.training.world import World

ALONE = World()
SAMPLE_RATE_HZ = 16_000


class Summary(NamedTuple):
    """What was trained.  All but ``attempts`` and ``rejected`` follow from run and documents."""

    tokens: int
    steps: int
    utterances: int
    seconds_of_audio: float
    flops: float
    num_split: int  # training documents longer than the window
    nats_per_token: float  # held out, at the end
    bits_per_second: float
    attempts: int
    rejected: tuple[str, ...]  # resume checkpoints that this attempt passed over, and why


def fit(
    run: Run,
    train: Documents,
    dev: Documents,
    out: Path,
    *,
    scratch: Path,
    world: World = ALONE,
    events: Events | None = None,
    fork: Path | None = None,
    listener: Listener = nobody,
) -> Summary:
    """Train to ``run.total_tokens`` and return what was done; every rank calls this alike.

    Rank 0 writes into ``out``: ``checkpoint-<tokens>/`` at the first step boundary at which as
    many tokens were trained, and at the end ``losses.jsonl``, ``validation.jsonl`` and the
    ``timing`` files.  ``scratch``, on the same file system and seen by every rank, keeps resume
    checkpoints and the live journal between attempts; it can be deleted afterwards.  A branch
    starts from the state that its trunk left in ``fork``.  On rank 0 ``listener`` hears every line
    of the journal.

    Raises:
        ValueError: for documents that do not fit the run, or a loss that is not finite.
    """
    _refuse_bad(train, dev)
    session = Session(run, train, dev, out, scratch, world, events or Silent(), fork, listener)
    with contextlib.closing(session):
        session.resume()
        session.settle()
        while not session.trainer.ended:
            session.step()
            session.settle()
        session.finish()
    return _summary(session, int(np.sum(train.lengths + 1 > run.scale.window)))


def _summary(session: Session, num_split: int) -> Summary:
    done, held_out = session.trainer.progress, session.trainer.validations[-1]
    return Summary(
        tokens=done.tokens,
        steps=done.step,
        utterances=done.utterances,
        seconds_of_audio=done.samples / SAMPLE_RATE_HZ,
        flops=done.flops,
        num_split=num_split,
        nats_per_token=held_out.nats_per_token,
        bits_per_second=held_out.bits_per_second,
        attempts=session.attempt,
        rejected=tuple(f"{bad.folder.name}: {bad.reason}" for bad in session.rejected),
    )


def _refuse_bad(train: Documents, dev: Documents) -> None:
    for name, documents in (("train", train), ("dev", dev)):
        if not len(documents):
            raise ValueError(f"the {name} split has no documents: prepare a corpus that fills it")
    both = sorted(set(train.ids) & set(dev.ids))
    if both:
        raise ValueError(
            f"{len(both)} utterances are in both train and dev, the first is {both[0]!r}: "
            "held-out loss needs utterances that were not trained on"
        )
