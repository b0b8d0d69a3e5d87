"""Train one model: opens the tokens, runs the loop, commits each checkpoint as it is published."""

from collections.abc import Mapping
from pathlib import Path

from ray_slm.recipes import Train
from ray_slm.scheduling.plan import checkpoint_part
from ray_slm.scheduling.stage import Stage
from ray_slm.stages.site import Site, made_with
from ray_slm.tokens import TokenStore
from ray_slm.training.loop import ALONE, Summary, fit
from ray_slm.training.run import Run
from ray_slm.training.world import World

TRAIN_SPLIT, DEV_SPLIT = "train", "dev"


class CommitCheckpoints:
    """Gives every published checkpoint its record, so that evaluations may start."""

    def __init__(self, stage: Stage, site: Site) -> None:
        self._stage, self._site = stage, site

    def published(self, tokens: int, folder: Path) -> None:
        """Commit the part, unless an earlier attempt did."""
        part = checkpoint_part(tokens)
        address = self._stage[part].address
        assert folder.resolve() == self._site.store.path(address).resolve()
        if not self._site.store.has(address):
            summary = {"tokens": tokens}
            self._site.store.commit(self._stage, part=part, summary=summary, made=made_with())

    def step(self, point: Mapping[str, float]) -> bool:
        """Steps need nothing; a resume checkpoint comes by count."""
        return False


def train(stage: Stage, site: Site, world: World = ALONE) -> Summary:
    """Train to the end of the run's budget; rank 0 commits the run.  Every rank calls this."""
    folder = site.store.path(stage.address)
    folder.mkdir(parents=True, exist_ok=True)
    tokens = site.store.path(stage.inputs["tokens"].address)
    training = TokenStore.open(tokens, TRAIN_SPLIT)
    summary = fit(
        run_of(stage, training.vocab_size),
        training,
        TokenStore.open(tokens, DEV_SPLIT),
        folder,
        scratch=site.store.scratch(stage.address),
        world=world,
        events=CommitCheckpoints(stage, site),
    )
    if world.rank == 0:
        site.store.commit(stage, summary=summary._asdict(), made=made_with())
    return summary


def run_of(stage: Stage, vocab_size: int) -> Run:
    """The loop's view of the recipe."""
    recipe = stage.recipe
    assert isinstance(recipe, Train)
    return Run(
        scale=recipe.scale,
        vocab_size=vocab_size,
        optimizer=recipe.optimizer,
        batching=recipe.batching,
        seed=recipe.seed,
        total_tokens=recipe.total_tokens,
        checkpoints=recipe.checkpoints,
        precision=recipe.precision,
    )
