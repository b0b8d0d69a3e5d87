"""The stages of continuation: prompts once, a vocoder per unit modality, one stage per run.

Only a run's last checkpoint is continued.  Units without durations cannot be made audible, so
streams that are derived from others have no continuation.
"""

from collections.abc import Mapping
from typing import NamedTuple

from ray_slm import recipes
from ray_slm.modalities.modality import DerivedStream, Form, Modality, Stream
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


def is_audible(stream: Stream) -> bool:
    """Whether a stream's units can be made audible without asking anything else."""
    return not isinstance(stream, DerivedStream)


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
    if modality.stream.form is Form.AUDIO and isinstance(task.vocoder, UnitVocoder):
        vocoder = Stage(
            name=f"vocoder/{modality.name}",
            recipe=recipes.FitVocoder(vocoder=task.vocoder),
            inputs={"corpus": prompts.inputs["corpus"], "tokens": tokens["corpus"][""]},
            demand=Demand(priority=LOW),
        )
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
