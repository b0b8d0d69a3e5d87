"""Perplexities per modality: the unit is the prompt, and nothing that was counted is lost."""

import numpy as np
import pandas as pd
import pytest

from ray_slm.evaluation.contrasts import Contrast
from ray_slm.evaluation.generation_tables import (
    continuation_table,
    log_perplexity,
    perplexity_contrasts,
)

CONTRAST = Contrast(factor="A", baseline="text", modality="phone")


def samples(modality, logs, *, seed=0, kind="generated"):
    """Rows of a (prompts, samples) array of log-perplexities; NaN is an empty output."""
    rows = []
    for prompt, of_prompt in enumerate(logs):
        for number, log in enumerate(of_prompt):
            tokens = 0 if np.isnan(log) else 5 + number
            nats = 0.0 if np.isnan(log) else log * tokens
            row = {"modality": modality, "seed": seed, "prompt": f"p{prompt}", "kind": kind}
            row |= {"sample": number, "ended": number != 1, "repetitive": number == 2}
            row |= {"nats": nats, "judge_tokens": tokens, "errors": 1, "words": 8}
            rows.append(row | {"whole_nats": nats + 12.0, "whole_tokens": tokens + 4})
    return pd.DataFrame(rows)


@pytest.fixture
def logs():
    return np.random.default_rng(0).normal(5, 0.5, (12, 4))


def test_figures_are_those_of_the_samples(logs):
    real = samples("text", logs[:, :1] - 1, kind="recorded")
    (row,) = continuation_table(pd.concat([samples("text", logs), real])).to_dict("records")
    assert row["mean"] == pytest.approx(np.exp(logs).mean())
    assert row["std"] == pytest.approx(np.exp(logs).std(ddof=1))
    assert row["median"] == pytest.approx(np.median(np.exp(logs)))
    assert row["geometric"] == pytest.approx(np.exp(logs.mean()))
    assert row["real"] == pytest.approx(np.exp(logs[:, 0].mean() - 1))
    assert row["wer"] == pytest.approx(12.5)
    counts = ("num_prompts", "num_samples", "num_empty", "num_repetitive", "num_unended")
    assert [row[name] for name in counts] == [12, 48, 0, 12, 12]
    assert row["low"] < row["geometric"] < row["high"]


def test_prompts_and_not_samples_are_the_evidence(logs):
    """Ten times the samples of the same prompts, all alike, make no interval narrower."""
    few = samples("text", np.repeat(logs[:, :1], 2, axis=1))
    many = samples("text", np.repeat(logs[:, :1], 20, axis=1))
    widths = [
        np.log(row["high"] / row["low"])
        for frame in (few, many)
        for row in continuation_table(frame).to_dict("records")
    ]
    assert widths[0] == pytest.approx(widths[1])
    expected = logs[:, 0].std(ddof=1) / np.sqrt(12) * 2.201 * 2  # t of 11 degrees
    assert widths[0] == pytest.approx(expected, rel=1e-3)


def test_empty_outputs_are_counted_and_have_no_perplexity(logs):
    logs[3, 1], logs[5] = np.nan, np.nan
    frame = samples("text", logs)
    (row,) = continuation_table(frame).to_dict("records")
    assert row["num_empty"] == 5
    assert row["num_samples"] == 48
    kept = np.exp(logs[~np.isnan(logs)])
    assert row["mean"] == pytest.approx(kept.mean())
    by_prompt = np.nanmean(np.delete(logs, 5, axis=0), axis=1)
    assert row["geometric"] == pytest.approx(np.exp(by_prompt.mean()))


def test_nothing_said_at_all_is_no_error():
    frame = samples("text", np.full((3, 2), np.nan))
    (row,) = continuation_table(frame).to_dict("records")
    assert row["num_empty"] == 6
    assert np.isnan(row["geometric"])
    assert row["note"] == "nothing to judge"


def test_the_prompt_may_be_counted_too(logs):
    frame = samples("text", logs)
    whole = log_perplexity(frame, scope="whole")
    assert whole.iloc[0] == pytest.approx((logs[0, 0] * 5 + 12) / 9)


def test_contrasts_are_paired_by_prompt():
    rng = np.random.default_rng(1)
    topic = rng.normal(5, 2.0, (15, 1))
    text = topic + rng.normal(0, 0.05, (15, 3))
    phone = topic + np.log(1.5) + rng.normal(0, 0.05, (15, 3))
    frame = pd.concat([samples("text", text), samples("phone", phone)])
    (row,) = perplexity_contrasts(frame, [CONTRAST]).to_dict("records")
    assert row["ratio"] == pytest.approx(1.5, rel=0.05)
    assert 1.3 < row["low"] < row["ratio"] < row["high"] < 1.7  # topics cancel
    assert row["num_prompts"] == 15
    assert row["note"] == "item noise only"


def test_seeds_widen_the_interval(logs):
    one = samples("text", logs)
    shifts = (0.0, 1.0, -1.0)
    three = pd.concat([samples("text", logs + s, seed=i) for i, s in enumerate(shifts)])
    widths = [
        np.log(row["high"] / row["low"])
        for frame in (one, three)
        for row in continuation_table(frame).to_dict("records")
    ]
    assert widths[1] > 2 * widths[0]


def test_a_contrast_without_a_common_prompt_says_so(logs):
    text, phone = samples("text", logs), samples("phone", logs)
    phone["prompt"] = "other-" + phone["prompt"]
    (row,) = perplexity_contrasts(pd.concat([text, phone]), [CONTRAST]).to_dict("records")
    assert row["num_prompts"] == 0
    assert "no prompt" in row["note"]
    assert perplexity_contrasts(text, [CONTRAST]).empty
