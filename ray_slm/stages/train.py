"""Train one model: opens the tokens, runs the loop, commits each checkpoint as it is published."""

import math
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from ray_slm.recipes import Train
from ray_slm.scheduling.plan import checkpoint_part, fork_part
from ray_slm.scheduling.stage import Demand, Stage
from ray_slm.scheduling.store import SCRATCH
from ray_slm.stages.site import Site, made_with
from ray_slm.tokens import TokenStore
from ray_slm.training.journal import Listener, nobody
from ray_slm.training.loop import ALONE, Summary, fit
from ray_slm.training.run import Run
from ray_slm.training.world import World

TRAIN_SPLIT, DEV_SPLIT = "train", "dev"
JOURNALS = f"{SCRATCH}/journal-"
RESUME_FILES = (f"{SCRATCH}/resume/", JOURNALS)
JOURNAL_SECONDS = 30.0  # how old the curves are that others see


class CommitCheckpoints:
    """Gives every published checkpoint its record, so that evaluations may start.

    ``urgent`` tells, after each step, whether to save a resume checkpoint at once.
    """

    def __init__(
        self, stage: Stage, site: Site, urgent: Callable[[], bool], *, keeps_journal: bool = True
    ) -> None:
        self._stage, self._site, self._urgent = stage, site, urgent
        self._beside = ThreadPoolExecutor(1, thread_name_prefix="journal")
        self._sharing: Future[None] | None = None
        self._share_at = time.monotonic() + (JOURNAL_SECONDS if keeps_journal else math.inf)

    def published(self, tokens: int, folder: Path) -> None:
        """Commit the part, unless an earlier attempt did."""
        part = folder.name
        assert part in (checkpoint_part(tokens), fork_part(tokens))
        address = self._stage[part].address
        assert folder.resolve() == self._site.store.path(address).resolve()
        if not self._site.store.has(address):
            summary = {"tokens": tokens}
            self._site.store.commit(self._stage, part=part, summary=summary, made=made_with())

    def saved(self) -> None:
        """Let another node resume from here, should this one be lost."""
        self._site.store.share(self._stage.address, *RESUME_FILES, exact=True)

    def step(self, point: Mapping[str, float]) -> bool:
        """Journals are shared now and then; a resume checkpoint comes at once if the end is near.

        What fails in sharing a journal is left to `saved`, which sends it again and must not fail.
        """
        now = time.monotonic()
        if now >= self._share_at and (self._sharing is None or self._sharing.done()):
            self._share_at = now + JOURNAL_SECONDS
            share, address = self._site.store.share, self._stage.address
            self._sharing = self._beside.submit(share, address, JOURNALS)
        return self._urgent()

    def close(self) -> None:
        """Leave no journal on its way: what a commit tidies up would come back."""
        self._beside.shutdown(cancel_futures=True)


def train(
    stage: Stage,
    site: Site,
    world: World = ALONE,
    urgent: Callable[[], bool] = lambda: False,
    listener: Listener = nobody,
) -> Summary:
    """Train to the end of the run's budget; rank 0 commits the run.  Every rank calls this."""
    folder = site.store.gather(stage.address, f"{SCRATCH}/")
    folder.mkdir(parents=True, exist_ok=True)
    tokens = site.store.path(stage.inputs["tokens"].address)
    training = TokenStore.open(tokens, TRAIN_SPLIT)
    trunk = stage.inputs.get("trunk")
    events = CommitCheckpoints(stage, site, urgent, keeps_journal=world.rank == 0)
    summary = fit(
        run_of(stage, training.vocab_size),
        training,
        TokenStore.open(tokens, DEV_SPLIT),
        folder,
        scratch=site.store.scratch(stage.address),
        world=_as_demanded(world, stage.demand),
        events=events,
        fork=None if trunk is None else site.store.path(trunk.address),
        listener=listener,
    )
    events.close()
    if world.rank == 0:
        site.store.commit(stage, summary=summary._asdict(), made=made_with())
    return summary


def _as_demanded(world: World, demand: Demand) -> World:
    """The world with what the study says of micro-batches, compilation and memory."""
    return world._replace(
        tokens_per_microbatch=demand.microbatch_tokens,
        compiled=demand.compiled,
        static_shapes=demand.compiled and world.device.type == "cuda",
        recompute=demand.recompute,
    )


def run_of(stage: Stage, vocab_size: int) -> Run:
    """The loop's view of the recipe."""
    recipe = stage.recipe
    assert isinstance(recipe, Train)
    share = recipe.ending.validate_fraction
    return Run(
        scale=recipe.scale,
        vocab_size=vocab_size,
        optimizer=recipe.optimizer,
        batching=recipe.batching,
        seed=recipe.seed,
        total_tokens=recipe.total_tokens,
        checkpoints=recipe.checkpoints,
        precision=recipe.precision,
        validate_every_tokens=None if share is None else math.ceil(share * recipe.total_tokens),
        ending=recipe.ending,
        forks=recipe.forks,
        forked_at=recipe.forked_at,
    )
