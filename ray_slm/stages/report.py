"""Render the report of a study, whole or partial, and publish it where people look for it."""

import shutil
from pathlib import Path

import pandas as pd

from ray_slm import sweep
from ray_slm.corpora.laptop import LaptopCorpus
from ray_slm.evaluation.contrasts import table3
from ray_slm.evaluation.controls import shuffled_labels
from ray_slm.evaluation.conventions import flip_table
from ray_slm.evaluation.generation_tables import continuation_table, perplexity_contrasts
from ray_slm.evaluation.pair_scores import headline
from ray_slm.evaluation.tables import (
    accuracy_table,
    band_table,
    checkpoint_table,
    half_skill_table,
    layer_table,
)
from ray_slm.recipes import PrepareCorpus, PrepareItems, Report
from ray_slm.report.page import render
from ray_slm.report.tables import Results
from ray_slm.scheduling.plan import plan
from ray_slm.scheduling.stage import Stage
from ray_slm.scheduling.store import Store
from ray_slm.stages import results
from ray_slm.stages.growth import growth
from ray_slm.stages.samples import continued
from ray_slm.stages.site import Site, made_with
from ray_slm.study import Study


def render_report(stage: Stage, site: Site) -> None:
    """Render into the stage's folder and commit."""
    folder = site.store.path(stage.address)
    folder.mkdir(parents=True, exist_ok=True)
    render(collect(stage, site.store), folder)
    site.store.commit(stage, summary={"num_inputs": len(stage.inputs)}, made=made_with())


def stage_of(study: Study) -> Stage:
    """The stage whose inputs are all that the report shows."""
    (stage,) = (stage for stage in plan(study) if isinstance(stage.recipe, Report))
    return stage


def publish(study: Study, store: Store) -> Path:
    """The page at ``<root>/studies/<study>/report/index.html``.

    A finished report is copied; before that, a partial one is rendered with its holes marked.
    Sweeps of learning rates are no part of the plan: a page that shows them is rendered anew.
    """
    stage = stage_of(study)
    folder = store.root / "studies" / study.name / "report"
    draft = folder.with_name("report.tmp")
    shutil.rmtree(draft, ignore_errors=True)
    draft.parent.mkdir(parents=True, exist_ok=True)
    trials = pd.DataFrame(sweep.published(study.name, store))
    if store.has(stage.address) and trials.empty:
        shutil.copytree(store.path(stage.address), draft)
    else:
        draft.mkdir()
        render(collect(stage, store)._replace(sweep=trials), draft)
    shutil.rmtree(folder, ignore_errors=True)
    draft.replace(folder)
    store.send_copy(folder)
    return folder / "index.html"


def collect(stage: Stage, store: Store) -> Results:
    """Everything the page shows, from what exists; what is missing becomes holes."""
    recipe = stage.recipe
    assert isinstance(recipe, Report)
    store.present(artifact.address for artifact in stage.inputs.values())  # asked once, not each
    scores = results.pair_scores(stage, store)
    trained = scores[scores["tokens"] > 0] if len(scores) else scores
    some = len(trained) > 0
    contrasted = some and len(recipe.contrasts) > 0
    nothing = pd.DataFrame()
    found = Results(
        study=_about(stage, recipe),
        tokens=results.tokens(stage, store),
        table4=accuracy_table(trained) if some else nothing,
        table3=table3(trained, recipe.contrasts) if contrasted else nothing,
        layers=layer_table(trained) if some else nothing,
        scaling_points=checkpoint_table(scores) if some else nothing,
        scaling_fits=nothing,
        losses=results.losses(stage, store),
        quarantine=results.quarantine(stage, store),
        controls=_controls(scores, trained, stage, store) if some else nothing,
        bands=band_table(trained) if some and trained["band"].astype(str).any() else nothing,
        flips=flip_table(trained) if some else nothing,
        made=_made(stage, store),
        holes=results.holes(stage, store),
        self_tests=results.self_tests(stage, store),
        half_skill=half_skill_table(trained) if some else nothing,
    )
    return _with_continuations(growth(stage, trained, found) if some else found, stage, store)


def _with_continuations(found: Results, stage: Stage, store: Store) -> Results:
    recipe, heard = stage.recipe, continued(stage, store)
    assert isinstance(recipe, Report)
    found = found._replace(prompts=heard.prompts, samples=heard.samples, clips=heard.clips)
    if heard.samples.empty:
        return found
    return found._replace(
        continuation=continuation_table(heard.samples),
        continuation_contrasts=perplexity_contrasts(heard.samples, recipe.contrasts),
    )


def _about(stage: Stage, recipe: Report) -> dict[str, object]:
    """The study in words, whether its speech was synthesized, and whether it made its items."""
    tasks = [items.recipe for _, items in results.stages_of(stage, "items")]
    corpora = [corpus.recipe for _, corpus in results.stages_of(stage, "corpus")]
    return {
        "name": recipe.study,
        "question": recipe.question,
        "notice": recipe.notice,
        "task_titles": {t.task.name: t.task.title for t in tasks if isinstance(t, PrepareItems)},
        "made_items": any(
            isinstance(t, PrepareItems) and not hasattr(t.task, "place") for t in tasks
        ),
        "synthetic": any(
            isinstance(c, PrepareCorpus) and isinstance(c.corpus, LaptopCorpus) for c in corpora
        ),
    }


def _controls(
    scores: pd.DataFrame, trained: pd.DataFrame, stage: Stage, store: Store
) -> pd.DataFrame:
    """What must stay near 50 %, and what a letter or word n-gram gets without any model."""
    shuffled = checkpoint_table(shuffled_labels(headline(trained)))
    frames = [shuffled.assign(name="shuffled labels")]
    untrained = scores[scores["tokens"] == 0]
    if len(untrained):
        frames.append(checkpoint_table(untrained).assign(name="random weights"))
    rows = [
        {"name": name, "modality": "none", "task": parts[1], "accuracy": value}
        for parts, items in results.done(stage, "items", store)
        for name, value in _baselines(store.record(items.address)["summary"])
    ]
    return pd.concat([*frames, pd.DataFrame(rows)], ignore_index=True)


def _baselines(summary: dict) -> list[tuple[str, float]]:
    """Accuracy in percent of each n-gram over all pairs, as the task's remarks hold it."""
    found = summary.get("remarks", {}).get("accuracy of baselines", {})
    shares = {name: v["all"] if isinstance(v, dict) else v for name, v in found.items()}
    return [(name, 100.0 * float(share)) for name, share in shares.items()]


def _made(stage: Stage, store: Store) -> dict[str, object]:
    """Provenance that is the same for every rendering of the same results."""
    corpora = {
        parts[1]: store.record(corpus.address)["summary"]
        for parts, corpus in results.done(stage, "corpus", store)
    }
    runs = {"/".join(parts[1:]): run.address for parts, run in results.done(stage, "train", store)}
    made = made_with()
    return {
        "report": stage.address,
        "commit": made["commit"],
        "versions": made["versions"],
        "corpora": corpora,
        "training runs": runs,
        "recipes": {kind: identity for kind, identity in _recipes(stage).items()},
    }


def _recipes(stage: Stage) -> dict[str, object]:
    """One recipe of each kind, as hashed: seeds, sizes, digests of assets are all in there."""
    found: dict[str, object] = {}
    for artifact in stage.inputs.values():
        identity = artifact.stage.identity
        assert isinstance(identity, dict)
        found.setdefault(artifact.stage.name.split("/")[0], identity["recipe"])
    return found
