"""Gather what a report is made of from records and per-item scores, never from the tracker."""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from ray_slm import parquet, token_table
from ray_slm.evaluation.controls import self_test
from ray_slm.recipes import Train
from ray_slm.scheduling.stage import Stage
from ray_slm.scheduling.store import Store
from ray_slm.stages.decisions import Of, decisions
from ray_slm.stages.evaluate import SCORES, quarantined_ids, read_pairs


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
    """The decisions of every evaluation there is, as ``decisions.decisions`` documents them."""
    evaluations = []
    for (_, modality, seed, tokens, task), stage in done(report, "evaluate", store):
        of = Of(modality, int(seed.removeprefix("seed-")), int(tokens), task)
        evaluations.append((of, stage))
    return decisions(evaluations, _quarantined_items(report, store), store)


def self_tests(report: Stage, store: Store) -> pd.DataFrame:
    """Of every task: what the scorer makes of perfect, inverted, equal and shuffled scores.

    The ids are those of one evaluation.  Returns: task, oracle, negated, constant (percent),
    unchanged_by_shuffling.
    """
    dropped, rows = _quarantined_items(report, store), {}
    for (*_, task), stage in done(report, "evaluate", store):
        if task not in rows:
            pairs = read_pairs(store.path(stage.inputs["items"].address))
            scores = parquet.read_frame(store.path(stage.address) / SCORES)
            found = self_test(pairs, scores, quarantined=dropped.get(task, set()))
            rows[task] = {"task": task, **found._asdict()}
    return pd.DataFrame(rows.values())


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
