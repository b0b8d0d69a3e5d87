"""The stages that evaluate given checkpoints on given tasks, whoever trained them.

They have the addresses that the same work has inside a study: what a study evaluated already is
found, not done again.  Pure: no disk, no torch.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple

from ray_slm import recipes
from ray_slm.modalities.borrowed_text import BorrowedText
from ray_slm.modalities.modality import Modality
from ray_slm.scheduling.plan import plan
from ray_slm.scheduling.stage import Artifact, Demand, Stage
from ray_slm.scheduling.token_stages import token_stages
from ray_slm.study import Study

Precision = Literal["fp32", "bf16"]


class Candidate(NamedTuple):
    """A model to evaluate: its checkpoint, how items are tokenized for it, and what it is."""

    label: str  # as in names and tables
    checkpoint: Artifact
    modality: Modality
    tokens: int  # trained so far; 0 where nobody says


class Grid(NamedTuple):
    """All stages in order, and the evaluations with the candidate and task of each."""

    stages: tuple[Stage, ...]
    evaluations: tuple[tuple[Candidate, str, Stage], ...]


def trained(study: Study) -> list[Candidate]:
    """Every checkpoint of a study's training runs, whether or not it exists yet."""
    found = []
    modalities = {modality.name: modality for modality in study.modalities}
    for stage in plan(study):
        if not isinstance(stage.recipe, recipes.Train):
            continue
        _, name, seed = stage.name.split("/")[:3]
        for count in stage.recipe.checkpoints:
            label = f"{name}/{seed}/{count:012d}"
            part = stage[f"checkpoint-{count:012d}"]
            found.append(Candidate(label, part, modalities[name], count))
    return found


def imported(place: str, digest: str, label: str, modality: Modality | None) -> Candidate:
    """A model's folder at ``place``; without a modality its own tokenizer reads the transcripts."""
    recipe = recipes.ImportModel(place=place, digest=digest)
    stage = Stage(name=f"model/{label}", recipe=recipe)
    if modality is None:
        stream = BorrowedText(place=place, digest=digest)
        modality = Modality(name=f"text-of-{label}", stream=stream, nominal_tokens_per_second=4.0)
    return Candidate(label, stage[""], modality, 0)


def grid(
    study: Study,
    candidates: Sequence[Candidate],
    tasks: Iterable[Any],
    *,
    precision: Precision = "fp32",
) -> Grid:
    """Items, tokens and evaluations of every candidate on every task."""
    tasks = tuple(tasks)
    planned = {stage.name: stage for stage in plan(replace(study, tasks=tasks, continuation=None))}
    corpus = planned[f"corpus/{study.corpus.name}"]
    items = {task.name: planned[f"items/{task.name}"] for task in tasks}
    stages: dict[str, Stage] = {stage.address: stage for stage in items.values()}
    evaluations = []
    for candidate in candidates:
        owner = candidate.checkpoint.stage
        if isinstance(owner.recipe, recipes.ImportModel):
            stages[owner.address] = owner
        name, stream = candidate.modality.name, candidate.modality.stream
        made = token_stages(name, stream, {"corpus": corpus, **items}, study.encode_gpus)
        stages |= {stage.address: stage for stage in made.stages}
        for task in items:
            recipe = recipes.Evaluate(precision=precision)
            inputs = {"checkpoint": candidate.checkpoint, "tokens": made.tokens[task][""]}
            stage = Stage(
                name=f"evaluate/{candidate.label}/{task}",
                recipe=recipe,
                inputs={**inputs, "items": items[task][""]},
                demand=Demand(cpus=0.5, gpus=study.evaluate_gpus),
            )
            stages[stage.address] = stage
            evaluations.append((candidate, task, stage))
    wanted = _needed([stage for _, _, stage in evaluations])
    return Grid(tuple(s for s in stages.values() if s.address in wanted), tuple(evaluations))


def _needed(evaluations: list[Stage]) -> set[str]:
    """Addresses of the evaluations and of what they read, but not of any training run."""
    found: set[str] = set()
    waiting = list(evaluations)
    while waiting:
        stage = waiting.pop()
        if stage.address in found or isinstance(stage.recipe, recipes.Train):
            continue
        found.add(stage.address)
        waiting += [artifact.stage for artifact in stage.inputs.values()]
    return found
