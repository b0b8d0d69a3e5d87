"""Score the items of tasks at one checkpoint: the weights are loaded once for all of them."""

import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from ray_slm import parquet
from ray_slm.evaluation.layers import LayeredModel, load_model, specials_of
from ray_slm.evaluation.likelihood import score, score_frame
from ray_slm.evaluation.pair_scores import default_convention
from ray_slm.evaluation.pairs import decide
from ray_slm.recipes import Evaluate, PreparePrompts
from ray_slm.scheduling.stage import Stage
from ray_slm.stages.site import Site, made_with
from ray_slm.tokens import TokenStore

SCORES = "scores.parquet"
ITEM_SPLIT = "items"
TOKEN_BUDGETS = {"cpu": 1024, "gpu": 32_768}  # what fits the cache; what fills the device


def evaluate(stages: Sequence[Stage], site: Site, device: str = "cpu") -> None:
    """Evaluate stages that share one checkpoint; each commits its own record."""
    if not stages:
        return
    (checkpoint,) = {stage.inputs["checkpoint"].address for stage in stages}
    model_folder = site.store.path(checkpoint)
    model = load_model(model_folder, device=device)
    for stage in stages:
        if isinstance(stage.inputs["items"].stage.recipe, PreparePrompts):
            # Its libraries take seconds to load: only where prompts are continued.
            from ray_slm.stages.continuation import continue_at
            from ray_slm.training.model import Llama

            assert isinstance(model, Llama)
            continue_at(stage, site, model)
        else:
            _evaluate_task(stage, site, model, model_folder)


def _evaluate_task(stage: Stage, site: Site, model: LayeredModel, model_folder: Path) -> None:
    recipe = stage.recipe
    assert isinstance(recipe, Evaluate)
    store = _tokens(site.store.path(stage.inputs["tokens"].address))
    sequences = [store.tokens(i) for i in range(len(store))]
    table = score(
        model,
        sequences,
        vocab_size=store.vocab_size,
        precision=recipe.precision,
        token_budget=TOKEN_BUDGETS["cpu" if model.device.type == "cpu" else "gpu"],
        specials=specials_of(model_folder, store.vocab_size),
    )
    frame = score_frame(table, store.ids, [n / 16_000 for n in store.num_samples])
    folder = site.store.path(stage.address)
    folder.mkdir(parents=True, exist_ok=True)
    parquet.write_frame(folder / SCORES, frame)
    pairs = read_pairs(site.store.path(stage.inputs["items"].address))
    quarantined = quarantined_ids(site.store.path(stage.inputs["tokens"].address))
    accuracy = _accuracy(pairs, frame, quarantined)
    task = stage.inputs["items"].stage.name.split("/")[1]
    metrics = {f"accuracy/{task}": accuracy}
    summary = {"num_items": len(store), "num_unique": table.num_unique, "metrics": metrics}
    site.store.commit(stage, summary=summary, made=made_with())


def _tokens(folder: Path) -> TokenStore:
    """The items' tokens.  Raises ValueError when the modality could read none of them."""
    refused = quarantined_ids(folder)
    if refused and not (folder / ITEM_SPLIT).is_dir():
        raise ValueError(
            f"{folder}: all {len(refused)} items are in quarantine: do they have the form that "
            "this modality reads? see quarantine.jsonl"
        )
    return TokenStore.open(folder, ITEM_SPLIT)


def read_pairs(items: Path) -> pd.DataFrame:
    """The pairs of a task: columns are the fields of ``tasks.task.Pair``."""
    return parquet.read_frame(items / "pairs.parquet")


def quarantined_ids(folder: Path) -> frozenset[str]:
    """Ids that a stage's ``quarantine.jsonl`` names; empty when it has none."""
    path = folder / "quarantine.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return frozenset(json.loads(line)["id"] for line in lines)


def _accuracy(pairs: pd.DataFrame, scores: pd.DataFrame, quarantined: frozenset[str]) -> float:
    """Percent right, final layer, default convention: what the tracker plots."""
    decided = decide(pairs, scores, quarantined=quarantined)
    layer = decided["layer"].max()
    headline = default_convention(decided[decided["layer"] == layer])
    return 100.0 * float(headline["correct"].mean())
