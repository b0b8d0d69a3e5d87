"""The stages of continuation: prompts once, a vocoder per unit modality, one stage per run.

Only a run's last checkpoint is continued.  Streams that are derived from others are spoken by the
vocoder of their source, each token for as long as it lasts on average in the training split.
"""

from collections.abc import Mapping
from typing import NamedTuple

from ray_slm import recipes
from ray_slm.modalities.modality import DerivedStream, Form, Modality
from ray_slm.scheduling.stage import Artifact, Demand, Stage
from ray_slm.tasks.continuation import Continuation, UnitVocoder

LOW = -1.0  # after whatever training waits for


class LastCheckpoint(NamedTuple):
    """The end of a training run: its tokens and its artifact."""

    tokens: int
    artifact: Artifact


def prompts_stage(task: Continuation, corpus: Stage) -> Stage:
    """The prompts, cut from the corpus's held-out utterances."""
    return Stage(
        name=f"prompts/{task.name}",
        recipe=recipes.PreparePrompts(task=task),
        inputs={"corpus": corpus[""]},
        demand=Demand(priority=LOW),
    )


def continuation_stages(
    task: Continuation,
    modality: Modality,
    tokens: Mapping[str, Stage],
    prompts: Stage,
    last: Mapping[int, LastCheckpoint],
    gpus: float,
) -> list[Stage]:
    """One modality's vocoder, if it needs one that the user does not bring, and continuations.

    ``tokens`` are its stores by role, ``last`` the end of its run of each seed;
    ``gpus`` are those of an evaluation.
    """
    stages: list[Stage] = []
    common = {"tokens": tokens[task.name][""], "items": prompts[""]}
    if isinstance(modality.stream, DerivedStream):
        common["lasting"] = tokens["corpus"][""]
    if modality.stream.form in (Form.AUDIO, Form.UNITS) and isinstance(task.vocoder, UnitVocoder):
        vocoder = _vocoder_stage(task.vocoder, modality, tokens["corpus"], prompts)
        stages, common = [vocoder], {**common, "vocoder": vocoder[""]}
    for seed, (count, checkpoint) in last.items():
        stages.append(
            Stage(
                name=f"continue/{modality.name}/seed-{seed}/{count:012d}/{task.name}",
                recipe=recipes.Evaluate(),
                inputs={"checkpoint": checkpoint, **common},
                demand=Demand(cpus=0.5, gpus=gpus),
            )
        )
    return stages


def _vocoder_stage(
    vocoder: UnitVocoder, modality: Modality, tokens: Stage, prompts: Stage
) -> Stage:
    """Fitted to a modality's units, or to those that it is derived from."""
    name, units = modality.name, tokens[""]
    if isinstance(modality.stream, DerivedStream):
        name, units = modality.stream.source_name, tokens.inputs["units"]
    return Stage(
        name=f"vocoder/{name}",
        recipe=recipes.FitVocoder(vocoder=vocoder),
        inputs={"corpus": prompts.inputs["corpus"], "tokens": units},
        demand=Demand(priority=LOW),
    )
