"""Our official figures beside those of zerospeech-benchmarks itself: `make oracle`."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ray_slm.evaluation.official import item_scores, lexical, syntactic, write_submission
from ray_slm.tasks.gold_sentences import GoldSentences
from ray_slm.tasks.gold_words import GoldWords
from tests.tasks.published import lexical_rows, syntactic_rows, write_csv

PYTHON = Path(__file__).parents[2] / "build" / "oracle" / "bin" / "python"
TASKS = {
    "lexical": GoldWords(name="words", title="words", place="here"),
    "syntactic": GoldSentences(name="sentences", title="sentences", place="here"),
}
pytestmark = pytest.mark.oracle


def many(rows, copies, keys):
    """More items of the same layout: each copy has ids, names and frequencies of its own."""
    found = []
    for copy in range(copies):
        for row in rows:
            more = {"filename": f"{row['filename']}{copy}", "id": int(row["id"]) + 100 * copy}
            if "frequency" in row:
                more["frequency"] = (int(row["frequency"]) * (copy + 1)) % 150
                more["length"] = int(row["length"]) + copy % 3
            found.append({**row, **more})
    # The scorer joins sentences by their order in the file: only sorted gold is fair to it.
    return sorted(found, key=lambda row: tuple(str(row[k]) for k in keys))


def scored(gold, seed):
    values = -np.random.default_rng(seed).integers(1, 6, len(gold)).astype(float)
    parts = {"logp_sum": values, "logp_first": -0.5, "logp_eos": -0.25}
    more = {"layer": 0, "num_tokens": 1, "seconds": 1.0}
    return pd.DataFrame({"utterance": gold["utterance"], **parts, **more})


def test_our_figures_are_the_official_ones(tmp_path):
    assert PYTHON.exists(), "`make oracle` installs the official scorer"
    gold, ours = tmp_path / "gold", {}
    write_csv(gold / "lexical/dev/gold.csv", many(lexical_rows(), 8, ("id", "voice")))
    keys = ("type", "subtype", "id", "voice")
    write_csv(gold / "syntactic/dev/gold.csv", many(syntactic_rows(), 8, keys))
    for level, task in TASKS.items():
        rows = pd.DataFrame(task.recorded(gold).gold)
        frame = item_scores(rows, scored(rows, 7))
        write_submission(frame, tmp_path / "submission" / level / "dev.txt")
        ours[level] = lexical(frame) if level == "lexical" else syntactic(frame)
    script = Path(__file__).with_name("official_scorer.py")
    command = [str(PYTHON), "-W", "ignore", str(script), str(gold), str(tmp_path / "submission")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    theirs = json.loads(done.stdout.splitlines()[-1])
    for level, name, table in (
        ("lexical", "frequency", ours["lexical"].by_frequency),
        ("lexical", "length", ours["lexical"].by_length),
        ("syntactic", "type", ours["syntactic"].by_type),
    ):
        official = pd.DataFrame(theirs[level][name])
        assert official[name].astype(str).tolist() == table[name].astype(str).tolist()
        np.testing.assert_array_equal(official["n"], table["n"])
        for column in ("score", "std"):
            np.testing.assert_allclose(
                official[column].astype(float), table[column].astype(float), rtol=1e-9
            )
    for level in TASKS:
        official = pd.DataFrame(theirs[level]["pairs"])["score"]
        assert sorted(official) == pytest.approx(sorted(ours[level].by_pair["score"]))
        assert official.mean() == pytest.approx(ours[level].overall)
