"""Gather what a report is made of from records and per-item scores, never from the tracker."""

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ray_slm import parquet, token_table
from ray_slm.evaluation import pairs as joins
from ray_slm.evaluation.conventions import DEFAULT_CONVENTION, DEFAULT_PARTS
from ray_slm.recipes import Train
from ray_slm.scheduling.stage import Stage
from ray_slm.scheduling.store import Store
from ray_slm.stages.evaluate import SCORES, quarantined_ids, read_pairs

IDS = ("utterance", "layer")


def stages_of(report: Stage, kind: str) -> Iterator[tuple[list[str], Stage]]:
    """The report's inputs of one kind, with the parts of their names."""
    for artifact in report.inputs.values():
        parts = artifact.stage.name.split("/")
        if parts[0] == kind:
            yield parts, artifact.stage


def done(report: Stage, kind: str, store: Store) -> Iterator[tuple[list[str], Stage]]:
    """Those that have a record."""
    return ((parts, stage) for parts, stage in stages_of(report, kind) if store.has(stage.address))


def holes(report: Stage, store: Store) -> list[str]:
    """Names of the stages that have no record: marked in the report, never imputed."""
    return [a.stage.name for a in report.inputs.values() if not store.has(a.address)]


def pair_scores(report: Stage, store: Store) -> pd.DataFrame:
    """The decisions of every evaluation there is (``evaluation.pair_scores``).

    Of a run's last checkpoint all of them; of an earlier one those of the final layer under the
    default convention, which is all that curves are made of.
    """
    dropped = _quarantined_items(report, store)
    evaluations = [(Decided(*parts[1:]), stage) for parts, stage in done(report, "evaluate", store)]
    last: dict[tuple[str, str], int] = {}
    for of, _ in evaluations:
        last[of.run] = max(last.get(of.run, 0), int(of.tokens))
    layouts = _Layouts(dropped, [stage for _, stage in evaluations], store)
    frames = [
        layouts.decided(stage, of.task, whole=int(of.tokens) == last[of.run])
        for of, stage in evaluations
    ]
    if not frames:
        return pd.DataFrame()
    lengths = [len(frame) for frame in frames]
    about = pd.DataFrame([of for of, _ in evaluations], columns=Decided._fields)
    about["seed"] = about["seed"].str.removeprefix("seed-").astype(int)
    about = about.astype({"modality": "category", "task": "category", "tokens": int})
    repeated = about.take(np.repeat(np.arange(len(about)), lengths)).reset_index(drop=True)
    return pd.concat([pd.concat(frames, ignore_index=True), repeated], axis=1)


class Decided(NamedTuple):
    """What an evaluation is of, as the parts of its name say."""

    modality: str
    seed: str
    tokens: str
    task: str

    @property
    def run(self) -> tuple[str, str]:
        """The training run."""
        return self.modality, self.seed


class _Layouts:
    """Joins of scores and pairs: checkpoints score the same items, so few are ever made."""

    def __init__(
        self, dropped: Mapping[str, set[str]], evaluations: Sequence[Stage], store: Store
    ) -> None:
        self._dropped, self._store = dropped, store
        self._found: dict[str, list[tuple[pa.Table, joins.Layout]]] = {}
        items = dict.fromkeys(stage.inputs["items"].address for stage in evaluations)
        pairs = [read_pairs(store.path(address)) for address in items]
        # Categories that all tasks share: strings in millions of rows would take seconds.
        named = pd.concat(pairs) if pairs else pd.DataFrame()
        types = {name: pd.CategoricalDtype(sorted(set(named[name]))) for name in named}
        self._pairs = {a: p.astype(types) for a, p in zip(items, pairs, strict=True)}

    def decided(self, stage: Stage, task: str, *, whole: bool) -> pd.DataFrame:
        path = self._store.path(stage.address) / SCORES
        columns = IDS + (joins.SCORE_COLUMNS if whole else DEFAULT_PARTS)
        scores = parquet.read_table(path, columns).combine_chunks()
        if not whole:
            layers = scores["layer"]
            scores = scores.filter(pc.equal(layers, pc.max(layers)))
        layout = self._layout(stage, task, scores.select(IDS))
        conventions = None if whole else (DEFAULT_CONVENTION,)
        return joins.decided(layout, scores.to_pandas(), conventions)

    def _layout(self, stage: Stage, task: str, rows: pa.Table) -> joins.Layout:
        items = stage.inputs["items"].address
        known = self._found.setdefault(items, [])
        for others, layout in known:
            if others.equals(rows):
                return layout
        dropped = self._dropped.get(task, set())
        made = joins.layout(self._pairs[items], rows.to_pandas(), quarantined=dropped)
        known.append((rows, made))
        return made


def _quarantined_items(report: Stage, store: Store) -> dict[str, set[str]]:
    """By task: items that some modality could not tokenize, so that none is scored on them."""
    found: dict[str, set[str]] = {}
    for (_, _modality, source), stage in done(report, "tokens", store):
        found.setdefault(source, set()).update(quarantined_ids(store.path(stage.address)))
    return found


def tokens(report: Stage, store: Store) -> pd.DataFrame:
    """Table 2: one row per modality and split of the corpus."""
    stages = token_table.token_stages(artifact.stage for artifact in report.inputs.values())
    return pd.DataFrame(
        dataclasses.asdict(row)
        for stage in stages
        if store.has(stage.address)
        for row in token_table.token_counts(stage, store)
    )


def losses(report: Stage, store: Store) -> pd.DataFrame:
    """Validation loss of every run: nats/token and bits/second of audio.

    A trunk, which never cools down, shows only where it began; its branches show the rest.
    """
    rows = []
    runs = [*done(report, "train", store), *done(report, "cooldown", store)]
    for (_, modality, seed, *_), stage in runs:
        trunk = isinstance(stage.recipe, Train) and stage.recipe.forks
        for line in read_lines(store.path(stage.address) / "validation.jsonl"):
            if trunk and line["tokens"] > 0:
                continue
            rows.append(
                {
                    "modality": modality,
                    "seed": int(seed.removeprefix("seed-")),
                    "split": "dev",
                    "tokens": line["tokens"],
                    "nats_per_token": line["nats_per_token"],
                    "bits_per_second": line["bits_per_second"],
                }
            )
    return pd.DataFrame(rows)


def quarantine(report: Stage, store: Store) -> pd.DataFrame:
    """Every item that was left out anywhere, with stage, reason and detail."""
    rows = []
    for kind in ("corpus", "items", "tokens"):
        for _parts, stage in done(report, kind, store):
            for line in read_lines(store.path(stage.address) / "quarantine.jsonl"):
                row = {key: line[key] for key in ("id", "reason", "detail")}
                rows.append({"stage": stage.name, **row})
    return pd.DataFrame(rows, columns=["stage", "id", "reason", "detail"])


def read_lines(path: Path) -> list[dict]:
    """The JSON objects of a file of lines; none when the file does not exist."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
