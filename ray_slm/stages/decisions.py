"""Decisions of a study's evaluations from their files of scores, read as thinly as tables allow.

Checkpoints score the same items, so a join of scores and pairs is made once and used for all; what
curves are made of needs two columns of one layer.  Thousands of files are read in seconds.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

from ray_slm import parquet
from ray_slm.evaluation import pairs as joins
from ray_slm.evaluation.conventions import DEFAULT_CONVENTION, DEFAULT_PARTS
from ray_slm.scheduling.stage import Stage
from ray_slm.scheduling.store import Store
from ray_slm.stages.evaluate import SCORES, read_pairs

IDS = ("utterance", "layer")


class Of(NamedTuple):
    """What an evaluation is of, as its stage's name says."""

    modality: str
    seed: int
    tokens: int
    task: str


class _Join(NamedTuple):
    """Items as one or more files list them, their layouts, and the decisions read so far."""

    ids: pa.Table
    names: np.ndarray
    final: np.ndarray  # which rows are of the last layer
    whole: joins.Layout
    last: joins.Layout
    made: list[tuple[Of, joins.Decisions]]


def decisions(
    evaluations: Sequence[tuple[Of, Stage]], dropped: Mapping[str, set[str]], store: Store
) -> pd.DataFrame:
    """The frame of ``evaluation.pair_scores``, its names as categories.

    Of a run's last checkpoint it has every layer and convention; of earlier ones the final layer
    under the default convention.  ``dropped`` are the items, by task, that no modality keeps.
    """
    last: dict[tuple[str, int], int] = {}
    for of, _ in evaluations:
        run = of.modality, of.seed
        last[run] = max(last.get(run, 0), of.tokens)
    pairs, found = _pairs(evaluations, store), dict[str, list[_Join]]()
    for of, stage in evaluations:
        items = stage.inputs["items"].address
        known = found.setdefault(items, [])
        whole = of.tokens == last[of.modality, of.seed]
        columns = joins.SCORE_COLUMNS if whole else DEFAULT_PARTS
        table = parquet.read_table(store.path(stage.address) / SCORES, IDS + columns)
        join = _join(table.select(IDS), known, pairs[items], dropped.get(of.task, set()))
        join.made.append((of, _judged(join, table, whole=whole)))
    return _framed([join for known in found.values() for join in known])


def _pairs(evaluations: Sequence[tuple[Of, Stage]], store: Store) -> dict[str, pd.DataFrame]:
    """Pairs by address of their items, with categories that all tasks share."""
    items = dict.fromkeys(stage.inputs["items"].address for _, stage in evaluations)
    frames = {address: read_pairs(store.path(address)) for address in items}
    if not frames:
        return {}
    named = pd.concat(frames.values())
    types = {name: pd.CategoricalDtype(sorted(set(named[name]))) for name in named}
    return {address: frame.astype(types) for address, frame in frames.items()}


def _join(ids: pa.Table, known: list[_Join], pairs: pd.DataFrame, dropped: set[str]) -> _Join:
    """The join of these items, from the known ones where it is among them."""
    for join in known:
        if join.ids.equals(ids):
            return join
    frame = ids.to_pandas()
    final = (frame["layer"] == frame["layer"].max()).to_numpy()
    whole = joins.layout(pairs, frame, quarantined=dropped)
    last = joins.layout(pairs, frame[final].reset_index(drop=True), quarantined=dropped)
    known.append(_Join(ids, frame["utterance"].to_numpy(), final, whole, last, []))
    return known[-1]


def _judged(join: _Join, table: pa.Table, *, whole: bool) -> joins.Decisions:
    scores = {name: table[name].to_numpy() for name in table.column_names if name not in IDS}
    scores["utterance"] = join.names
    if whole:
        return joins.judged(join.whole, scores)
    final = {name: values[join.final] for name, values in scores.items()}
    return joins.judged(join.last, final, (DEFAULT_CONVENTION,))


def _framed(found: Sequence[_Join]) -> pd.DataFrame:
    """All decisions as one frame."""
    frames = []
    for join in found:
        parts = [made for _, made in join.made]
        joined = joins.Decisions(*(np.concatenate(rows) for rows in zip(*parts, strict=True)))
        sizes = [made.correct_RP.size for made in parts]
        about = pd.DataFrame([of for of, _ in join.made], columns=Of._fields)
        repeated = about.take(np.repeat(np.arange(len(about)), sizes)).reset_index(drop=True)
        frames.append(pd.concat([joins.framed(join.whole, joined), repeated], axis=1))
    if not frames:
        return pd.DataFrame()
    whole = pd.concat(frames, ignore_index=True)
    return whole.astype({"modality": "category", "task": "category"})
