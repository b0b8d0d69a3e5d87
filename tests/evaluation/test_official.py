"""Official figures against an implementation of their definition with dictionaries alone."""

import itertools
import math
from collections import defaultdict

import numpy as np
import pandas as pd
import pytest

from ray_slm.evaluation.official import (
    item_scores,
    lexical,
    lexical_by_word,
    syntactic,
    write_submission,
)
from ray_slm.tasks.gold_sentences import GoldSentences
from ray_slm.tasks.gold_words import GoldWords
from tests.tasks.published import babyslm, zerospeech

WORDS = GoldWords(name="words", title="words", place="here")
SENTENCES = GoldSentences(name="sentences", title="sentences", place="here")
MANY = GoldWords(name="baby", title="baby", place="here", several=True)


def gold_of(task, folder):
    return pd.DataFrame(task.recorded(folder).gold)


def scores_for(gold, seed=0, levels=4):
    """Few levels, so that ties are common."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "utterance": gold["utterance"],
            "layer": 3,
            "logp_sum": -rng.integers(1, 1 + levels, len(gold)).astype(float),
            "logp_first": -0.5,
            "logp_eos": -0.25,
            "num_tokens": 1,
            "seconds": 1.0,
        }
    )


def decision(one, other):
    return 0.5 * (one == other) + (one > other)


def mean(values):
    values = list(values)
    return sum(values) / len(values)


def by_hand(gold, score, keys):
    """Mean over voices for each key, from dictionaries."""
    sides = defaultdict(dict)
    for row in gold.to_dict("records"):
        key = tuple(row[k] for k in keys)
        sides[key, row["voice"]][row["correct"]] = score[row["utterance"]]
    trials = defaultdict(list)
    for (key, _), of_key in sides.items():
        trials[key].append(decision(of_key["1"], of_key["0"]))
    return {key: mean(found) for key, found in trials.items()}


@pytest.mark.parametrize("seed", range(5))
def test_lexical_figures_are_those_of_the_definition(tmp_path, seed):
    gold = gold_of(WORDS, zerospeech(tmp_path, audio=False))
    scores = scores_for(gold, seed)
    found = lexical(item_scores(gold, scores))
    expected = by_hand(
        gold, dict(zip(scores["utterance"], scores["logp_sum"], strict=True)), ["id"]
    )
    assert dict(zip(found.by_pair["id"], found.by_pair["score"], strict=True)) == {
        key: value for (key,), value in expected.items()
    }
    frequency = {row["id"]: int(row["frequency"]) for row in gold.to_dict("records")}
    edges = [0, 1, 5, 20, 100, math.inf]
    for (low, high), row in zip(
        itertools.pairwise(edges), found.by_frequency.to_dict("records"), strict=True
    ):
        inside = [v for (k,), v in expected.items() if low <= frequency[k] < high]
        assert row["n"] == len(inside)
        assert not inside or row["score"] == pytest.approx(mean(inside))
    known = [v for (k,), v in expected.items() if frequency[k] > 0]
    assert found.in_vocabulary == pytest.approx(mean(known))
    assert found.overall == pytest.approx(mean(expected.values()))


@pytest.mark.parametrize("seed", range(5))
def test_syntactic_figures_are_those_of_the_definition(tmp_path, seed):
    gold = gold_of(SENTENCES, zerospeech(tmp_path, audio=False))
    scores = scores_for(gold, seed)
    found = syntactic(item_scores(gold, scores))
    score = dict(zip(scores["utterance"], scores["logp_sum"], strict=True))
    expected = by_hand(gold, score, ["type", "subtype", "id"])
    for row in found.by_type.to_dict("records"):
        inside = [v for key, v in expected.items() if key[0] == row["type"]]
        assert (row["n"], row["score"]) == (len(inside), pytest.approx(mean(inside)))
    assert found.overall == pytest.approx(mean(expected.values()))


def test_several_non_words_are_averaged_before_voices(tmp_path):
    gold = gold_of(MANY, babyslm(tmp_path))
    scores = scores_for(gold, 3, levels=50)
    by_file = dict(zip(gold["filename"], scores["logp_sum"], strict=True))
    scores["logp_sum"] = gold["filename"].map(by_file)  # one file, one score
    found = lexical_by_word(item_scores(gold, scores))
    by_word = defaultdict(lambda: defaultdict(dict))
    for row in gold.to_dict("records"):
        by_word[row["id"]][row["voice"]].setdefault(row["correct"], {})[row["filename"]] = by_file[
            row["filename"]
        ]
    expected = [
        mean(
            mean(decision(next(iter(sides["1"].values())), other) for other in sides["0"].values())
            for sides in voices.values()
        )
        for voices in by_word.values()
    ]
    assert max(len(v["A"]["0"]) for v in by_word.values()) == 2
    assert found["score"].mean() == pytest.approx(mean(expected))


@pytest.mark.parametrize("task", [WORDS, SENTENCES], ids=["lexical", "syntactic"])
def test_oracle_negated_constant_and_shuffled(tmp_path, task):
    gold = gold_of(task, zerospeech(tmp_path, audio=False))
    figures = lexical if task is WORDS else syntactic
    scores = scores_for(gold)
    right = (gold["correct"] == "1").to_numpy().astype(float)

    def overall(values):
        return figures(item_scores(gold, scores.assign(logp_sum=values))).overall

    assert (overall(right), overall(-right), overall(0 * right)) == (1.0, 0.0, 0.5)
    shuffled = scores.sample(frac=1, random_state=1)
    assert (
        figures(item_scores(gold, shuffled)).overall == figures(item_scores(gold, scores)).overall
    )


def test_items_that_are_missing_doubled_unknown_or_not_finite_are_named(tmp_path):
    gold = gold_of(WORDS, zerospeech(tmp_path, audio=False))
    scores = scores_for(gold)
    first = scores["utterance"].iloc[0]
    for wrong, what in (
        (scores.iloc[1:], "missing"),
        (pd.concat([scores, scores.iloc[:1]]), "duplicate"),
        (pd.concat([scores, scores.iloc[:1].assign(utterance="x.positive.a")]), "unknown"),
        (scores.assign(logp_sum=[np.nan, *scores["logp_sum"][1:]]), "not finite"),
    ):
        with pytest.raises(ValueError, match=what) as error:
            item_scores(gold, wrong)
        assert ("x.positive.a" if what == "unknown" else first) in str(error.value)


def test_a_submission_reads_back_to_the_last_bit(tmp_path):
    gold = gold_of(WORDS, zerospeech(tmp_path, audio=False))
    scores = scores_for(gold, levels=10**6).assign(num_tokens=3)
    frame = item_scores(gold, scores)
    write_submission(frame, tmp_path / "lexical" / "dev.txt")
    lines = (tmp_path / "lexical" / "dev.txt").read_text().splitlines()
    read = {name: float(score) for name, score in (line.split(" ") for line in lines)}
    assert read == dict(zip(frame["filename"], frame["score"], strict=True))
    frame.loc[1, "filename"] = frame.loc[0, "filename"]
    frame.loc[1, "score"] = frame.loc[0, "score"] + 1
    with pytest.raises(ValueError, match="several scores"):
        write_submission(frame, tmp_path / "x.txt")
