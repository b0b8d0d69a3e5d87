"""Expand a study into its stages.  Pure: no clock, no disk, no cluster, no torch.

Stage names are for people: ``train/<modality>/seed-<n>``; addresses add the fingerprint.
"""

from dataclasses import replace

from ray_slm import recipes
from ray_slm.modalities.modality import Modality
from ray_slm.scheduling.continuation_stages import (
    LastCheckpoint,
    continuation_stages,
    prompts_stage,
)
from ray_slm.scheduling.stage import Artifact, Demand, Stage
from ray_slm.scheduling.token_stages import distinct, token_stages
from ray_slm.study import Study
from ray_slm.training.scale import flops_per_token

MEAN_UTTERANCE_SECONDS = 14.8  # Libriheavy's, for corpora that do not tell theirs


def plan(study: Study) -> tuple[Stage, ...]:
    """The stages of a study, every stage after its inputs."""
    corpus = Stage(
        name=f"corpus/{study.corpus.name}",
        recipe=recipes.PrepareCorpus(corpus=study.corpus),
        demand=Demand(priority=10),
    )
    items = {task.name: _items(study, task.name, corpus) for task in study.tasks}
    stages, inputs = [corpus, *items.values()], {"corpus": corpus[""]}
    inputs |= {f"items/{name}": stage[""] for name, stage in items.items()}
    prompts = prompts_stage(study.continuation, corpus) if study.continuation else None
    if prompts is not None:
        stages, inputs = [*stages, prompts], {**inputs, "prompts": prompts[""]}
    for modality in study.modalities:
        for stage in _modality_stages(study, modality, corpus, items, prompts):
            stages.append(stage)
            kind, _, rest = stage.name.partition("/")
            own = rest.split("/")[0] == modality.name  # and not of the units it is derived from
            if own and kind in ("tokens", "train", "cooldown", "evaluate", "continue"):
                inputs[stage.name] = stage[""]
    report = recipes.Report(
        study=study.name,
        question=study.question,
        notice=study.notice,
        contrasts=study.contrasts,
        tokens_per_second=tuple((m.name, m.nominal_tokens_per_second) for m in study.modalities),
    )
    stages.append(Stage(name=f"report/{study.name}", recipe=report, inputs=inputs))
    return tuple(distinct(stages))


# What each verb adds to those before it.
VERBS = {
    "tokenize": (
        recipes.PrepareCorpus,
        recipes.PrepareItems,
        recipes.PreparePrompts,
        recipes.FitVocabulary,
        recipes.Tokenize,
    ),
    "train": (recipes.Train,),
    "evaluate": (recipes.FitVocoder, recipes.Evaluate),
    "report": (recipes.Report,),
}


def up_to(stages: tuple[Stage, ...], verb: str) -> tuple[Stage, ...]:
    """The stages of a verb and of those before it.  Raises ValueError for an unknown verb."""
    if verb not in VERBS:
        raise ValueError(f"--until {verb!r}: use one of {', '.join(VERBS)}")
    names = list(VERBS)
    kinds = tuple(kind for name in names[: names.index(verb) + 1] for kind in VERBS[name])
    return tuple(stage for stage in stages if isinstance(stage.recipe, kinds))


def checkpoint_part(tokens: int) -> str:
    """The part of a training run that holds its checkpoint after ``tokens``."""
    return f"checkpoint-{tokens:012d}"


def mean_seconds(study: Study) -> float:
    """Length of a mean utterance, which attention's share of the FLOPs depends on."""
    return float(getattr(study.corpus, "mean_seconds", MEAN_UTTERANCE_SECONDS))


def fork_part(tokens: int) -> str:
    """The part of a trunk that holds the state from which a branch goes on."""
    return f"fork-{tokens:012d}"


def _items(study: Study, task_name: str, corpus: Stage) -> Stage:
    (task,) = (task for task in study.tasks if task.name == task_name)
    recipe = recipes.PrepareItems(
        task=task,
        voices=study.item_voices,
        voice_rung=study.item_voice_rung,
        num_shards=study.item_shards,
    )
    return Stage(
        name=f"items/{task.name}",
        recipe=recipe,
        inputs={} if hasattr(task, "place") else {"corpus": corpus[""]},
        demand=Demand(priority=2),
    )


def _modality_stages(
    study: Study,
    modality: Modality,
    corpus: Stage,
    items: dict[str, Stage],
    prompts: Stage | None,
) -> list[Stage]:
    sources, task = {"corpus": corpus, **items}, study.continuation
    if task is not None and prompts is not None:
        sources[task.name] = prompts
    stages, tokens = token_stages(modality.name, modality.stream, sources, study.encode_gpus)
    for seed in study.seeds:
        stages += _run_stages(study, modality, seed, tokens, items)
    if task is not None and prompts is not None:
        last, gpus = _last(stages), study.evaluate_gpus
        stages += continuation_stages(task, modality, tokens, prompts, last, gpus)
    return stages


def _last(stages: list[Stage]) -> dict[int, LastCheckpoint]:
    """The last checkpoint of every seed, of the run or branch that has it."""
    found: dict[int, LastCheckpoint] = {}
    for stage in stages:
        if isinstance(stage.recipe, recipes.Train):
            for count in stage.recipe.checkpoints:
                one = LastCheckpoint(count, stage[checkpoint_part(count)])
                found[stage.recipe.seed] = max(found.get(stage.recipe.seed, one), one, key=_tokens)
    return found


def _tokens(checkpoint: LastCheckpoint) -> int:
    return checkpoint.tokens


def _run_stages(
    study: Study, modality: Modality, seed: int, tokens: dict[str, Stage], items: dict[str, Stage]
) -> list[Stage]:
    trains = _train_stages(study, modality, seed, tokens["corpus"])
    evaluations = [
        Stage(
            name=f"evaluate/{modality.name}/seed-{seed}/{count:012d}/{task}",
            recipe=recipes.Evaluate(),
            inputs={
                "checkpoint": train[checkpoint_part(count)],
                "tokens": tokens[task][""],
                "items": source[""],
            },
            demand=Demand(cpus=0.5, gpus=study.evaluate_gpus),
        )
        for train in trains
        for count in _recipe(train).checkpoints
        for task, source in items.items()
    ]
    return [*trains, *evaluations]


def _recipe(train: Stage) -> recipes.Train:
    assert isinstance(train.recipe, recipes.Train)
    return train.recipe


def _train_stages(study: Study, modality: Modality, seed: int, tokens: Stage) -> list[Stage]:
    """One run, or a trunk and the branches that cool down from it, each with its own record."""
    counts = tuple(study.tokens_after(modality, hours) for hours in study.checkpoint_hours)
    recipe = recipes.Train(
        scale=study.scale,
        optimizer=study.optimizer,
        batching=study.batching,
        total_tokens=counts[-1],
        checkpoints=counts,
        seed=seed,
        precision=study.precision,
        ending=study.ending,
    )
    name, inputs = f"{modality.name}/seed-{seed}", {"tokens": tokens[""]}
    if study.optimizer.schedule != "wsd-branches":
        return [_train_stage(study, modality, f"train/{name}", recipe, inputs)]
    ends = [count for count in counts if count > 0]
    forks = tuple(round(end * (1 - study.optimizer.cooldown_fraction)) for end in ends)
    of_trunk = replace(
        recipe, total_tokens=forks[-1], checkpoints=tuple({0} & {*counts}), forks=forks
    )
    trunk = _train_stage(study, modality, f"train/{name}", of_trunk, inputs)
    branches = []
    for fork, end in zip(forks, ends, strict=True):
        of_branch = replace(recipe, total_tokens=end, checkpoints=(end,), forked_at=fork)
        inputs = {"tokens": tokens[""], "trunk": trunk[fork_part(fork)]}
        label = f"cooldown/{name}/{end:012d}"
        branches.append(_train_stage(study, modality, label, of_branch, inputs))
    return [trunk, *branches]


def _train_stage(
    study: Study,
    modality: Modality,
    name: str,
    recipe: recipes.Train,
    inputs: dict[str, Artifact],
) -> Stage:
    mean_length = mean_seconds(study) * modality.nominal_tokens_per_second
    demand = Demand(
        workers=study.train_workers,
        cpus=study.train_cpus,
        gpus=study.train_gpus,
        priority=5 + modality.nominal_tokens_per_second / 1000,
        least_workers=study.train_least_workers,
        microbatch_tokens=study.train_microbatch_tokens,
        compiled=study.train_compiled,
        recompute=study.train_recompute,
    )
    num_tokens = recipe.total_tokens - (recipe.forked_at or 0)
    return Stage(
        name=name,
        recipe=recipe,
        inputs=inputs,
        demand=demand,
        tokens=num_tokens,
        flops=num_tokens * flops_per_token(study.scale, mean_length),
    )
