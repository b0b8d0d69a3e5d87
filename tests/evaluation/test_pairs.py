import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ray_slm.evaluation.controls import SelfTest, self_test, shuffled_labels
from ray_slm.evaluation.conventions import CONVENTIONS, derive, flip_table, prefers
from ray_slm.evaluation.pairs import decide
from tests.evaluation.frames import decisions, pairs_frame, scores_frame


def test_conventions_follow_their_definitions():
    row = pd.DataFrame(
        [
            {
                "logp_sum": -12.0,
                "logp_first": -2.0,
                "logp_eos": -3.0,
                "num_tokens": 4,
                "seconds": 0.5,
            }
        ]
    )
    found = {name: float(derive(row, name)[0]) for name in CONVENTIONS}
    assert found == {
        "mean": -3.0,
        "sum": -12.0,
        "sum_eos": -15.0,
        "mean_eos": -3.0,
        "no_first": -10.0,
        "per_second": -24.0,
    }
    with pytest.raises(ValueError, match="'median'"):
        derive(row, "median")


def test_a_tie_counts_half():
    np.testing.assert_array_equal(
        prefers(np.array([1.0, 2.0, 3.0]), np.array([2.0, 2.0, 2.0])), [0.0, 0.5, 1.0]
    )


def test_decisions_equal_a_loop_over_pairs_and_voices():
    pairs = pairs_frame()
    scores = scores_frame(pairs)
    found = decide(pairs, scores).set_index(["pair", "layer", "convention"])["correct"]
    keyed = scores.set_index(["utterance", "layer"])
    for pair in pairs["id"]:
        for layer in (0, 1, 2):
            wins = []
            for voice in ("slt", "rms"):
                good, bad = (
                    keyed.loc[(f"{pair}.{s}.{voice}", layer)] for s in ("positive", "negative")
                )
                wins.append(
                    good["logp_sum"] / good["num_tokens"] > bad["logp_sum"] / bad["num_tokens"]
                )
            assert found[pair, layer, "mean"] == np.mean(wins)


def test_every_layer_under_the_default_and_the_final_one_under_all():
    pairs = pairs_frame()
    frame = decide(pairs, scores_frame(pairs))
    seen = set(zip(frame["layer"], frame["convention"], strict=True))
    assert seen == {(0, "mean"), (1, "mean"), *((2, name) for name in CONVENTIONS)}
    assert len(frame) == len(pairs) * len(seen)
    assert frame.groupby("pair")["cluster"].first().to_dict() == dict(
        zip(pairs["id"], pairs["cluster"], strict=True)
    )


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_order_of_rows_changes_nothing(seed):
    pairs = pairs_frame()
    scores = scores_frame(pairs)
    rng = np.random.default_rng(seed)
    shuffled = scores.iloc[rng.permutation(len(scores))]
    mixed = pairs.iloc[rng.permutation(len(pairs))]
    pd.testing.assert_frame_equal(decide(mixed, shuffled), decide(pairs, scores))


def drop_one(scores):
    return scores[scores["utterance"] != "word.002.negative.rms"]


def double_one(scores):
    return pd.concat([scores, scores.iloc[[7]]])


def poison_one(scores):
    bad = scores["utterance"] == "word.003.positive.slt"
    return scores.assign(logp_eos=scores["logp_eos"].where(~bad, np.inf))


def add_stranger(scores):
    return pd.concat([scores, scores.iloc[[0]].assign(utterance="other.positive.slt")])


def misname(scores):
    return scores.assign(utterance=scores["utterance"].str.replace("positive", "good"))


def empty_one(scores):
    return scores.assign(num_tokens=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop_one, r"missing scores: word\.002\.negative\.rms \(layer 0\)"),
        (double_one, r"duplicate scores: word\.000"),
        (poison_one, r"not finite: word\.003\.positive\.slt"),
        (add_stranger, r"no pair: other\.positive\.slt"),
        (misname, r"not of the form .*word\.000\.good\.slt"),
        (empty_one, "above 0"),
        (lambda scores: scores.iloc[:0], "empty"),
    ],
)
def test_items_that_do_not_join_one_to_one_are_refused_by_name(change, message):
    pairs = pairs_frame()
    with pytest.raises(ValueError, match=message):
        decide(pairs, change(scores_frame(pairs)))


def test_pairs_with_one_id_are_refused():
    pairs = pairs_frame()
    with pytest.raises(ValueError, match=r"duplicate ids word\.001"):
        decide(pd.concat([pairs, pairs.iloc[[1]]]), scores_frame(pairs))


def test_a_quarantined_item_takes_its_whole_pair_with_it():
    pairs = pairs_frame()
    scores = scores_frame(pairs)
    lost = "word.002.negative.rms"
    frame = decide(pairs, drop_one(scores), quarantined=[lost])
    assert set(frame["pair"]) == set(pairs["id"]) - {"word.002"}
    whole = decide(pairs, scores)
    kept = whole[whole["pair"] != "word.002"].reset_index(drop=True)
    pd.testing.assert_frame_equal(frame, kept)
    with pytest.raises(ValueError, match="no pair is left"):
        decide(pairs, scores, quarantined=[f"{p}.positive.slt" for p in pairs["id"]])


def test_pairs_may_have_voices_of_their_own_only_when_told():
    pairs = pairs_frame()
    scores = scores_frame(pairs)
    one_voice = scores[~scores["utterance"].str.match(r"word\.002\..*\.rms")]
    with pytest.raises(ValueError, match=r"missing scores: word\.002\.positive\.rms"):
        decide(pairs, one_voice)
    frame = decide(pairs, one_voice, every_voice=False)
    assert set(frame.loc[frame["pair"] == "word.002", "correct"]) <= {0.0, 1.0}
    rest = frame["pair"] != "word.002"
    pd.testing.assert_frame_equal(frame[rest], decide(pairs, scores)[rest])
    with pytest.raises(ValueError, match=r"missing scores: word\.002"):
        decide(pairs, drop_one(scores), every_voice=False)


def test_the_self_test_passes_on_real_ids():
    pairs = pairs_frame(num_pairs=31)
    found = self_test(pairs, scores_frame(pairs))
    assert found == SelfTest(oracle=100.0, negated=0.0, constant=50.0, unchanged_by_shuffling=True)
    assert found.passed
    assert not found._replace(negated=1.0).passed


def test_shuffled_labels_bring_accuracy_to_chance():
    frame = decisions("m", 1.0, seeds=(0,), num_pairs=4000)
    control = shuffled_labels(frame, seed=3)
    final = control[(control["layer"] == 2) & (control["convention"] == "mean")]
    assert abs(final["correct"].mean() - 0.5) < 4 * 0.5 / np.sqrt(4000)
    swapped = (control["correct"] != frame["correct"]).groupby(control["pair"])
    assert (swapped.nunique() == 1).all()


def test_flips_are_counted_against_the_default():
    frame = decisions("m", 1.0, seeds=(0, 1), num_pairs=100)
    found = flip_table(frame)
    row = found[found["convention"] == "sum"].iloc[0]
    final = frame[(frame["layer"] == 2) & (frame["convention"] == "sum")]
    assert row["num_flipped"] == (final["correct"] == 0).sum()
    assert row["num_decisions"] == 200
    assert row["flipped"] == 100 * row["num_flipped"] / 200
