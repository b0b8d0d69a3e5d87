"""The in-process backend: the same verbs with no cluster, for tests, debuggers and small work."""

import logging

from ray_slm import recipes
from ray_slm.scheduling.stage import Stage
from ray_slm.stages.site import Site

logger = logging.getLogger(__name__)


class LocalBackend:
    """Runs each stage to its end inside ``submit``."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._ended: list[tuple[Stage, BaseException | None]] = []

    def submit(self, stage: Stage) -> None:
        """Run the stage now."""
        try:
            execute(stage, self._site)
        except Exception as error:
            # One stage's failure is an outcome that the runner reports; its siblings go on.
            logger.exception("stage %s failed", stage.address)
            self._ended.append((stage, error))
        else:
            self._ended.append((stage, None))

    def finished(self) -> list[tuple[Stage, BaseException | None]]:
        """What ended since the last call."""
        ended, self._ended = self._ended, []
        return ended


def execute(stage: Stage, site: Site) -> None:
    """Do everything a stage needs in this process.

    Imports are late, so that a worker that tokenizes does not load what a report needs.
    """
    match stage.recipe:
        case recipes.PrepareCorpus() | recipes.PrepareItems():
            from ray_slm.stages import prepare

            for source in prepare.begin(stage, site):
                prepare.survey(stage, site, source)
            for shard in prepare.settle(stage, site):
                prepare.prepare_shard(stage, site, shard)
            prepare.finish(stage, site)
        case recipes.FitVocabulary() | recipes.Tokenize():
            _tokenize(stage, site)
        case recipes.PreparePrompts() | recipes.FitVocoder():
            from ray_slm.stages import prompts

            prompts.make(stage, site)
        case recipes.Train():
            from ray_slm.stages.train import train

            train(stage, site)
        case recipes.ImportModel() | recipes.Evaluate():
            _evaluate(stage, site)
        case recipes.Report():
            from ray_slm.stages.report import render_report

            render_report(stage, site)
        case unknown:
            raise AssertionError(f"no verb for {type(unknown).__name__}")


def _evaluate(stage: Stage, site: Site) -> None:
    if isinstance(stage.recipe, recipes.ImportModel):
        from ray_slm.stages.import_model import import_model

        import_model(stage, site)
        return
    from ray_slm.stages.evaluate import evaluate

    evaluate([stage], site)


def _tokenize(stage: Stage, site: Site) -> None:
    from ray_slm.stages import tokenize

    if isinstance(stage.recipe, recipes.FitVocabulary):
        tokenize.fit_vocabulary(stage, site)
        return
    tokenizer = tokenize.load_tokenizer(stage, site)
    for shard in tokenize.missing_shards(stage, site):
        tokenize.tokenize_one(stage, site, tokenizer, shard)
    tokenize.finish(stage, site, tokenizer.vocab_size)
