"""The figures and the submission files of published scorers, from item scores joined by key.

Formulas after the scorers of ZeroSpeech 2021 and BabySLM; their joins by order, and what they
drop in silence, are not taken over: an item that is missing, doubled or not finite is refused.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from ray_slm.evaluation.conventions import DEFAULT_CONVENTION, derive, prefers
from ray_slm.evaluation.pairs import named, refuse_bad_values

FREQUENCY_EDGES = (0, 1, 5, 20, 100, np.inf)  # half-open
FREQUENCY_LABELS = ("oov", "1-5", "6-20", "21-100", ">100")  # the scorer's, whatever its edges


class LexicalFigures(NamedTuple):
    """Accuracies as fractions; n and standard deviation where the scorer prints them."""

    by_pair: pd.DataFrame  # id, word, non word, frequency, length, score
    by_frequency: pd.DataFrame  # frequency, n, score, std
    by_length: pd.DataFrame  # length, n, score, std
    overall: float
    in_vocabulary: float  # all bands but oov, weighted by n


class SyntacticFigures(NamedTuple):
    """Accuracies as fractions."""

    by_pair: pd.DataFrame  # type, subtype, id, sentence, non sentence, score
    by_type: pd.DataFrame  # type, n, score, std
    overall: float


def item_scores(
    gold: pd.DataFrame, scores: pd.DataFrame, convention: str = DEFAULT_CONVENTION
) -> pd.DataFrame:
    """The gold rows with a column ``score``, from the final layer's scores, joined by utterance.

    Args:
        gold: columns utterance and those of the gold file, as ``gold.parquet`` of the items.
        scores: see ``likelihood.score_frame``; any order of rows.

    Raises:
        ValueError: naming items that are missing, duplicate, unknown or not finite.
    """
    final = scores[scores["layer"] == scores["layer"].max()]
    refuse_bad_values(final)
    doubled = final["utterance"][final["utterance"].duplicated()]
    unknown = set(final["utterance"]) - set(gold["utterance"])
    missing = set(gold["utterance"]) - set(final["utterance"])
    for what, ids in (("duplicate", doubled), ("unknown", unknown), ("missing", missing)):
        if len(ids):
            raise ValueError(f"{what} scores of {named(sorted(ids))}; score the items again")
    values = pd.Series(derive(final, convention), index=final["utterance"].to_numpy())
    return gold.assign(score=values.loc[gold["utterance"]].to_numpy())


def write_submission(frame: pd.DataFrame, path: Path) -> None:
    """Lines ``filename score``, a file once, as ``lexical/dev.txt`` and its like are laid out."""
    files = frame.groupby("filename", sort=True)["score"].agg(["first", "nunique"])
    if (files["nunique"] > 1).any():
        unlike = files.index[files["nunique"] > 1]
        raise ValueError(f"{path}: files with several scores: {named(list(unlike))}")
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.tmp")
    lines = (f"{name} {float(score)!r}\n" for name, score in files["first"].items())
    draft.write_text("".join(lines), encoding="utf-8")
    draft.replace(path)


def lexical(frame: pd.DataFrame) -> LexicalFigures:
    """Voices are averaged within a pair, pairs within bands (Nguyen et al. 2020)."""
    keys = ["id", "voice"]
    trials = _trials(frame, keys, "word")
    by_pair = _mean_by(trials, ["id"], ["word", "non word", "frequency", "length"])
    frequency = pd.to_numeric(by_pair["frequency"].replace("", "0"))
    bands = pd.cut(frequency, list(FREQUENCY_EDGES), labels=list(FREQUENCY_LABELS), right=False)
    by_frequency = _described(by_pair["score"], bands)
    by_length = _described(by_pair["score"], pd.to_numeric(by_pair["length"]))
    known = by_frequency[by_frequency["frequency"] != FREQUENCY_LABELS[0]]
    weighted = (known["score"].fillna(0) * known["n"]).sum() / max(1, known["n"].sum())
    in_vocabulary = float(weighted) if known["n"].sum() else np.nan
    overall = float(by_pair["score"].mean())
    return LexicalFigures(by_pair, by_frequency, by_length, overall, in_vocabulary)


def lexical_by_word(frame: pd.DataFrame) -> pd.DataFrame:
    """BabySLM: non-words are averaged within word and voice, then voices within the word.

    Returns: word, score.  The overall figure is the mean of ``score``.
    """
    trials = _trials(frame, ["id", "voice"], "word")
    by_voice = trials.groupby(["voice", "word"], sort=True)["score"].mean()
    return by_voice.groupby(level="word").mean().reset_index()


def syntactic(frame: pd.DataFrame) -> SyntacticFigures:
    """Voices are averaged within a pair, pairs within types (Nguyen et al. 2020)."""
    keys = ["type", "subtype", "id", "voice"]
    trials = _trials(frame, keys, "transcription")
    trials = trials.rename(columns={"transcription": "sentence"})
    trials = trials.rename(columns={"non transcription": "non sentence"})
    by_pair = _mean_by(trials, keys[:3], ["sentence", "non sentence"])
    by_type = _described(by_pair["score"], by_pair["type"])
    return SyntacticFigures(by_pair, by_type, float(by_pair["score"].mean()))


def _trials(frame: pd.DataFrame, keys: Sequence[str], text: str) -> pd.DataFrame:
    """One row per correct and incorrect item of a key, with the score of the decision."""
    is_correct = frame["correct"].astype(str) == "1"
    if text == "word" and (frame.loc[~is_correct, "word"] == "").all():
        frame = frame.assign(word=frame["phones"])
    correct, wrong = frame[is_correct], frame[~is_correct]
    other = wrong[[*keys, text, "score"]].rename(
        columns={text: f"non {text}", "score": "other score"}
    )
    trials = correct.merge(other, on=list(keys), validate="many_to_many")
    decided = prefers(trials["score"].to_numpy(), trials["other score"].to_numpy())
    return trials.assign(score=decided)


def _mean_by(trials: pd.DataFrame, keys: list[str], kept: list[str]) -> pd.DataFrame:
    groups = trials.groupby(keys, sort=True)
    return groups.agg({**dict.fromkeys(kept, "first"), "score": "mean"}).reset_index()


def _described(score: pd.Series, by: pd.Series) -> pd.DataFrame:
    found = score.groupby(by, observed=False).agg(n="count", score="mean", std="std")
    return found.reset_index()
