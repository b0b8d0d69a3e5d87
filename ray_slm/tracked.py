"""What a tracker gets to see of a study, read from journals and records: no tracker in here.

Points of journals, scores, parameters, where checkpoints lie, and a model card for each line of a
comparison: a training run, or a trunk with the branches that cool down from it.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ray_slm.recipes import Train
from ray_slm.scheduling.plan import checkpoint_part
from ray_slm.scheduling.stage import Stage
from ray_slm.scheduling.store import SCRATCH, Store
from ray_slm.study import Study

# Points are drawn against time or tokens; what speeds are made of stays in the journals.
NOT_METRICS = ("time", "tokens", "step", "attempt", "seconds", "cpu_seconds", "num_tokens", "slots")
# A tracker takes .1 ms for each number: of the steps of a long run it gets one in ten seconds.
EVERY_STEP_UP_TO = 100
SECONDS_BETWEEN_STEPS = 10.0
COOLDOWN = "cooldown/"  # before what a branch journals: its trunk goes on past the same tokens


class Line(NamedTuple):
    """What is one line in a comparison: a training run, first in ``stages``, and its branches."""

    modality: str
    label: str  # seed-0, or the rate of a sweep's trial
    stages: tuple[Stage, ...]

    @property
    def trunk(self) -> Stage:
        """The run itself."""
        return self.stages[0]


def lines(stages: Sequence[Stage]) -> dict[tuple[str, str], Line]:
    """The lines of a plan, by modality and label."""
    groups: dict[tuple[str, str], list[Stage]] = {}
    for stage in stages:
        if isinstance(stage.recipe, Train):
            groups.setdefault(line_of(stage), []).append(stage)
    return {key: Line(*key, tuple(group)) for key, group in groups.items()}


def line_of(stage: Stage) -> tuple[str, str]:
    """(modality, label) of a training run, a branch, or an evaluation of their checkpoints."""
    _, modality, label = stage.name.split("/")[:3]
    return modality, label


class Point(NamedTuple):
    """A number that was measured once: when (seconds) and after how many trained tokens."""

    name: str
    value: float
    time: float
    tokens: int


class Journals:
    """Reads what is new in a run's journals.

    What was read counts as sent only when the caller says so: an outage in between loses nothing.
    """

    def __init__(self) -> None:
        # How far, in bytes, and the time of the last step that was shown.
        self._sent: dict[Path, tuple[int, float]] = {}
        self._read: dict[Path, tuple[int, float]] = {}

    def new_points(self, stage: Stage, store: Store) -> list[Point]:
        """Points of a training run or branch that were not confirmed yet."""
        if store.has(stage.address):
            paths = [store.path(stage.address, only="timing") / "timing.jsonl"]
        else:  # it runs, perhaps on another node
            folder = store.gather(stage.address, f"{SCRATCH}/", "journal-")
            paths = sorted((folder / SCRATCH).glob("journal-*.jsonl"))
        before = COOLDOWN if stage.name.startswith(COOLDOWN) else ""
        found = [
            point for path in paths for line in self._new_lines(path) for point in points(line)
        ]
        return [point._replace(name=before + point.name) for point in found]

    def confirm(self) -> None:
        """What was read has arrived."""
        self._sent.update(self._read)

    def _new_lines(self, path: Path) -> list[dict]:
        """Whole lines after what was confirmed, but for steps that come too fast to be shown."""
        if not path.exists():
            return []
        start, shown_at = self._sent.get(path, (0, -math.inf))
        with path.open("rb") as file:
            file.seek(start)
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        shown = []
        for line in map(json.loads, whole.splitlines()):
            if "loss" in line:
                if (
                    line["step"] > EVERY_STEP_UP_TO
                    and line["time"] < shown_at + SECONDS_BETWEEN_STEPS
                ):
                    continue
                shown_at = line["time"]
            shown.append(line)
        self._read[path] = start + len(whole), shown_at
        return shown


def points(line: Mapping[str, object]) -> Iterator[Point]:
    """The numbers of a journal line; what is not finite is left to the journal."""
    time, tokens = line["time"], line["tokens"]
    assert isinstance(time, int | float)
    assert isinstance(tokens, int | float)
    for name, value in line.items():
        number = isinstance(value, int | float) and math.isfinite(value)
        if number and name not in NOT_METRICS:
            yield Point(name, float(value), float(time), int(tokens))  # type: ignore[arg-type]


def scores(stage: Stage, store: Store) -> list[Point]:
    """An evaluation's metrics, at its checkpoint's tokens and the time of its record."""
    record = store.record(stage.address)
    tokens, at = int(stage.name.split("/")[3]), float(record["written_at"])
    line = {"time": at, "tokens": tokens, **record["summary"].get("metrics", {})}
    return list(points(line))


def parameters(line: Line) -> dict[str, str]:
    """The plain fields of a run's recipe, those of its values as ``field.name``."""
    identity = line.trunk.identity
    assert isinstance(identity, dict)
    found = {}
    for field, value in identity["recipe"].items():
        parts = value.items() if isinstance(value, dict) else [("", value)]
        for name, part in parts:
            if isinstance(part, int | float | str):
                found[f"{field}.{name}".rstrip(".")] = str(part)
    return found | {"total_tokens": str(max(_recipe(s).total_tokens for s in line.stages))}


def published(line: Line, store: Store) -> dict[int, str]:
    """Checkpoints that a run and its branches have published: addresses by tokens, rising."""
    addresses = {
        tokens: stage[checkpoint_part(tokens)].address
        for stage in line.stages
        for tokens in _recipe(stage).checkpoints
    }
    there = store.present(addresses.values())
    return {tokens: address for tokens, address in addresses.items() if address in there}


def checkpoints(there: Mapping[int, str], store: Store) -> list[dict[str, object]]:
    """Where published checkpoints lie and what they weigh."""
    return [
        {
            "tokens": tokens,
            "address": address,
            "location": f"{store.location}/{address}",
            "files": store.record(address)["files"],
        }
        for tokens, address in there.items()
    ]


CARD = """# {name}

A language model of the study *{study}*: {question}

- modality: {modality}, seed {seed}
- shape: {layers} layers of width {width}, {heads} heads ({kv_heads} for keys and values)
- trained on {tokens:,} tokens in {steps:,} steps, {hours:,.2f} hours of audio, {precision}
- held out: {nats:.4f} nats a token, {bits:.3f} bits a second of audio
- corpus: {corpus}
- made by commit {commit}

{notice}

It opens with `LlamaForCausalLM.from_pretrained` of transformers. It was trained to compare
modalities, has seen nothing but this corpus, and is of no other use.

| tokens | checkpoint | weights, sha256 |
|---|---|---|
{rows}
"""


def model_card(line: Line, study: Study, store: Store) -> str:
    """Markdown about a finished run, as its longest branch ended, and each of its checkpoints."""
    last = max(line.stages, key=lambda stage: _recipe(stage).total_tokens)
    recipe, record = _recipe(last), store.record(last.address)
    summary, scale = record["summary"], recipe.scale
    return CARD.format(
        name=line.trunk.name,
        study=study.name,
        question=study.question,
        notice=study.notice,
        modality=line.modality,
        seed=line.label.removeprefix("seed-"),
        layers=scale.layers,
        width=scale.width,
        heads=scale.heads,
        kv_heads=scale.kv_heads,
        tokens=summary["tokens"],
        steps=summary["steps"],
        hours=summary["seconds_of_audio"] / 3600,
        precision=recipe.precision,
        nats=summary["nats_per_token"],
        bits=summary["bits_per_second"],
        corpus=study.corpus.name,
        commit=record["made"]["commit"],
        rows="\n".join(_card_row(row) for row in checkpoints(published(line, store), store)),
    )


def _card_row(found: Mapping) -> str:
    weights = next((f for n, f in found["files"].items() if n.endswith(".safetensors")), None)
    digest = weights["sha256"] if weights else "none"
    return f"| {found['tokens']:,} | `{found['location']}` | `{digest}` |"


def _recipe(stage: Stage) -> Train:
    assert isinstance(stage.recipe, Train)
    return stage.recipe
