"""The stages from a corpus to tokens: a vocabulary where one is fitted, then one token store each
for the corpus and the items of every task.

A derived stream reads the stores of its source, which have the names and addresses they would have
in a study of that modality: where both are in a study, audio is encoded once.
"""

from collections.abc import Mapping
from typing import NamedTuple

from ray_slm import recipes
from ray_slm.modalities.modality import DerivedStream, FittedStream, Form, Stream
from ray_slm.scheduling.stage import Artifact, Demand, Stage


class TokenStages(NamedTuple):
    """All stages in order, and the token stores by role: "corpus" and the names of tasks."""

    stages: list[Stage]
    tokens: dict[str, Stage]


def token_stages(
    name: str, stream: Stream, sources: Mapping[str, Stage], encode_gpus: float
) -> TokenStages:
    """The stages of one stream, its source's before its own.

    ``sources`` are the stages of corpus and items by role; ``encode_gpus`` of each encoder.
    """
    before, units = TokenStages([], {}), {}
    if isinstance(stream, DerivedStream):
        before = token_stages(stream.source_name, stream.source, sources, encode_gpus)
        units = {role: {"units": stage[""]} for role, stage in before.tokens.items()}
    heavy = stream.form is Form.AUDIO
    gpus = encode_gpus if heavy else 0.0
    stages, fitted = [*before.stages], {}
    if isinstance(stream, FittedStream):
        vocabulary = Stage(
            name=f"vocabulary/{name}",
            recipe=recipes.FitVocabulary(stream=stream),
            inputs={"corpus": sources["corpus"][""], **units.get("corpus", {})},
            demand=Demand(gpus=gpus, priority=9 if heavy else 5),
        )
        stages, fitted = [*stages, vocabulary], {"vocabulary": vocabulary[""]}
    tokens = {}
    for role, source in sources.items():
        inputs: dict[str, Artifact] = {"corpus": source[""], **units.get(role, {}), **fitted}
        priority = (8 if heavy else 6) if role == "corpus" else 1
        tokens[role] = Stage(
            name=f"tokens/{name}/{source.name.split('/')[-1]}",
            recipe=recipes.Tokenize(stream=stream),
            inputs=inputs,
            demand=Demand(gpus=gpus, priority=priority),
        )
    return TokenStages([*stages, *tokens.values()], tokens)


def distinct(stages: list[Stage]) -> list[Stage]:
    """Each stage once, in order.  Raises ValueError when two of one name are different things."""
    found: dict[str, Stage] = {}
    for stage in stages:
        first = found.setdefault(stage.name, stage)
        if first.address != stage.address:
            raise ValueError(
                f"{stage.name} would be made in two ways, as {first.address} and {stage.address}: "
                "give modalities of different units different names, and derived ones the "
                "source_name of theirs"
            )
    return [*found.values()]
