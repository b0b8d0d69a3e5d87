"""From item scores to decisions about minimal pairs, joined by key and never by order.

Reference scorers pair rows by sort order or drop what is missing, which quietly halves or
flatters a score; here whatever does not join one to one is refused by name.  An item's id is
``<pair>.<side>.<voice>``.  Shapes: L layers, P pairs, V voices, R rows of
decisions; axis 2 is positive, negative.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ray_slm.evaluation.conventions import (
    CONVENTIONS,
    DEFAULT_CONVENTION,
    PER_SECOND,
    derive,
    prefers,
)

SIDES = ("positive", "negative")
PAIR_COLUMNS = ("cluster", "type", "subtype", "band")
SCORE_COLUMNS = ("logp_sum", "logp_first", "logp_eos", "num_tokens", "seconds")


Scores = Mapping[str, Any]  # columns by name, as a frame has them too


class Decisions(NamedTuple):
    """Rows of a layer and a convention each (its number in ``CONVENTIONS``), columns of pairs."""

    layers_R: np.ndarray
    conventions_R: np.ndarray
    correct_RP: np.ndarray


class Layout(NamedTuple):
    """Where each row of a scores table stands in a dense (L, P, 2, V) array.

    It follows from the ids and layers alone, so tables of equal ids share one.
    """

    pairs: pd.DataFrame  # the surviving ones, in order of id
    layers: np.ndarray
    kept: np.ndarray  # which rows of the table belong to them
    slots: np.ndarray  # of the kept rows
    present_P2V: np.ndarray


def decide(
    pairs: pd.DataFrame,
    scores: pd.DataFrame,
    *,
    quarantined: Collection[str] = (),
    every_voice: bool = True,
) -> pd.DataFrame:
    """Which of each pair's items is preferred, averaged over its voices (official aggregation).

    Args:
        pairs: columns id, type, subtype, cluster, band (``tasks.task.Pair``).
        scores: columns utterance, layer and ``SCORE_COLUMNS``; any order of rows.
        quarantined: utterance ids without a score.  A pair that needs one of them is left out
            whole; pass the union over modalities so that all of them keep the same pairs.
        every_voice: refuse a pair that lacks a voice which other pairs have.

    Returns:
        pair, cluster, type, subtype, band, layer, convention, correct (in [0, 1]).  Every layer
        is judged under the default convention, the final layer under all of them (but not per
        second where an item has no audio).

    Raises:
        ValueError: naming items that are missing, duplicate, unknown or not finite.
    """
    found = layout(pairs, scores, quarantined=quarantined, every_voice=every_voice)
    return framed(found, judged(found, scores))


def layout(
    pairs: pd.DataFrame,
    rows: pd.DataFrame,
    *,
    quarantined: Collection[str] = (),
    every_voice: bool = True,
) -> Layout:
    """The join of ``decide``, of which only the columns utterance and layer are needed.

    Raises ValueError naming items that are missing, duplicate or unknown.
    """
    return _join(_surviving(pairs, quarantined), rows, quarantined, every_voice)


def judged(found: Layout, scores: Scores, conventions: Sequence[str] | None = None) -> Decisions:
    """The decisions of ``decide`` for a table of that layout; under these conventions alone.

    Raises ValueError naming items whose scores are not finite.
    """
    refuse_bad_values(scores, found.kept)
    if conventions is None:
        has_audio = bool((np.asarray(scores["seconds"])[found.kept] > 0).all())
        conventions = [c for c in CONVENTIONS if has_audio or c != PER_SECOND]
    layers, names, rows = [], [], []
    for convention in conventions:
        correct_LP = _correct(found, scores, convention)
        first = 0 if convention == DEFAULT_CONVENTION else len(found.layers) - 1
        layers.append(found.layers[first:])
        names += [CONVENTIONS.index(convention)] * (len(found.layers) - first)
        rows.append(correct_LP[first:])
    codes_R = np.array(names, dtype=np.int8)
    return Decisions(np.concatenate(layers), codes_R, np.concatenate(rows))


def framed(found: Layout, decisions: Decisions) -> pd.DataFrame:
    """Decisions as ``decide`` returns them; many of one layout may be joined along R."""
    num_rows, num_pairs = decisions.correct_RP.shape
    columns = found.pairs[["id", *PAIR_COLUMNS]].rename(columns={"id": "pair"})
    codes = np.repeat(decisions.conventions_R, num_pairs)
    return (
        columns.take(np.tile(np.arange(num_pairs), num_rows))
        .assign(
            layer=np.repeat(decisions.layers_R.astype(np.int32), num_pairs),
            convention=pd.Categorical.from_codes(codes, CONVENTIONS),
            correct=decisions.correct_RP.ravel(),
        )
        .reset_index(drop=True)
    )


def _correct(found: Layout, scores: Scores, convention: str) -> np.ndarray:
    """Share of voices in which the positive item wins, (L, P)."""
    shape = (len(found.layers), *found.present_P2V.shape)
    values_LP2V = np.zeros(shape)
    values_LP2V.reshape(-1)[found.slots] = derive(scores, convention)[found.kept]
    wins_LPV = prefers(values_LP2V[:, :, 0], values_LP2V[:, :, 1])
    has_voice_PV = found.present_P2V[:, 0]
    return np.asarray((wins_LPV * has_voice_PV).sum(-1) / has_voice_PV.sum(-1))


def _surviving(pairs: pd.DataFrame, quarantined: Collection[str]) -> pd.DataFrame:
    """The pairs none of whose items is quarantined, in order of id."""
    doubled = pairs["id"][pairs["id"].duplicated()]
    if len(doubled):
        raise ValueError(f"pairs: duplicate ids {named(doubled)}; make the task's items again")
    lost = {utterance.rsplit(".", 2)[0] for utterance in quarantined}
    kept = pairs[~pairs["id"].isin(lost)].sort_values("id", ignore_index=True)
    if kept.empty:
        raise ValueError(
            f"no pair is left of {len(pairs)} after {len(lost)} were quarantined; "
            "look at quarantine.jsonl of the task's items"
        )
    return kept


def _join(
    pairs: pd.DataFrame, rows: pd.DataFrame, quarantined: Collection[str], every_voice: bool
) -> Layout:
    lost = {utterance.rsplit(".", 2)[0] for utterance in quarantined}
    key = _parse(rows["utterance"])
    kept = ~key["pair"].isin(lost).to_numpy()
    rows, key = rows[kept], key[kept]
    pair_codes = pd.Index(pairs["id"]).get_indexer(key["pair"])
    if (pair_codes < 0).any():
        unknown = rows["utterance"].to_numpy()[pair_codes < 0]
        raise ValueError(f"scores of items that belong to no pair: {named(unknown)}")
    voice_codes, voices = pd.factorize(key["voice"], sort=True)
    layer_codes, layers = pd.factorize(rows["layer"], sort=True)
    shape = (len(layers), len(pairs), 2, len(voices))
    sides = (key["side"] == SIDES[1]).to_numpy().astype(np.int64)
    slots = np.ravel_multi_index((layer_codes, pair_codes, sides, voice_codes), shape)
    counts = np.bincount(slots, minlength=int(np.prod(shape))).reshape(shape)
    names = pairs["id"].to_numpy(), np.asarray(SIDES), np.asarray(voices), np.asarray(layers)
    _refuse_wrong_counts(counts, names, every_voice)
    return Layout(pairs, np.asarray(layers), kept, slots, counts[0] > 0)


def _parse(utterances: pd.Series) -> pd.DataFrame:
    """pair, side and voice of each id; the work is done once per distinct id."""
    codes, names = pd.factorize(utterances)
    parts = [str(name).rsplit(".", 2) for name in names]
    wrong = [name for name, p in zip(names, parts, strict=True) if len(p) != 3 or p[1] not in SIDES]
    if wrong:
        raise ValueError(f"not of the form <pair>.<positive|negative>.<voice>: {named(wrong)}")
    if not parts:
        raise ValueError("the scores table is empty: score the task's items first")
    return pd.DataFrame(parts, columns=["pair", "side", "voice"]).iloc[codes].reset_index(drop=True)


def refuse_bad_values(scores: Scores, kept: np.ndarray | None = None) -> None:
    """Raise ValueError naming items whose scores are not finite or count no token.

    Of a table of some columns those are checked, in the ``kept`` rows.  Items without audio have 0
    seconds.
    """
    known = {name: np.asarray(scores[name]) for name in SCORE_COLUMNS if name in scores}
    rows = np.ones(len(known["num_tokens"]), dtype=bool) if kept is None else kept
    finite = np.logical_and.reduce([np.isfinite(values) for values in known.values()])
    if (bad := rows & ~finite).any():
        raise ValueError(
            f"scores are not finite: {named(np.asarray(scores['utterance'])[bad])}; "
            "the checkpoint may have diverged, look at its loss"
        )
    empty = known["num_tokens"] <= 0
    if "seconds" in known:
        empty = empty | (known["seconds"] < 0)
    if (empty := rows & empty).any():
        raise ValueError(
            "num_tokens must be above 0 and seconds not below it: "
            f"{named(np.asarray(scores['utterance'])[empty])}"
        )


def _refuse_wrong_counts(
    counts_LP2V: np.ndarray, names: tuple[np.ndarray, ...], every_voice: bool
) -> None:
    """Every expected item must stand exactly once in every layer."""
    doubled = np.argwhere(counts_LP2V > 1)
    if len(doubled):
        raise ValueError(f"duplicate scores: {_items(doubled, names)}; score the task again")
    needed_LP2V = np.ones_like(counts_LP2V, dtype=bool)
    if not every_voice:
        has_voice_PV = np.asarray(counts_LP2V.any(axis=(0, 2)))
        has_voice_PV[~has_voice_PV.any(axis=1)] = True  # a pair without any voice misses them all
        needed_LP2V &= has_voice_PV[None, :, None, :]
    missing = np.argwhere(needed_LP2V & (counts_LP2V == 0))
    if len(missing):
        raise ValueError(
            f"missing scores: {_items(missing, names)}; score them, or pass their ids as "
            "quarantined"
        )


def _items(places: np.ndarray, names: tuple[np.ndarray, ...]) -> str:
    pairs, sides, voices, layers = names
    return named(
        [f"{pairs[p]}.{sides[s]}.{voices[v]} (layer {layers[i]})" for i, p, s, v in places]
    )


def named(ids: Collection[object]) -> str:
    """The first five ids and the number of the rest."""
    shown = ", ".join(str(name) for name in list(ids)[:5])
    return shown + (f" and {len(ids) - 5} more" if len(ids) > 5 else "")
