import dataclasses
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from ray_slm.evaluation.comparison import NOT_EVALUATED, compare_by
from ray_slm.evaluation.contrasts import A_BPE, A_RAW, B, C, Contrast, paper_contrasts, table3
from ray_slm.evaluation.pair_scores import headline
from ray_slm.evaluation.statistics import holm
from ray_slm.evaluation.tables import (
    NO_SKILL,
    accuracy_table,
    band_table,
    checkpoint_table,
    half_skill_table,
    layer_table,
)
from tests.evaluation.frames import decisions

ACCURACIES = {"phone-raw": 0.8, "phone-repeat": 0.65, "speech-hubert": 0.55}


@pytest.fixture(scope="module")
def frame():
    parts = [
        decisions(modality, level, task=task, tokens=(500, 1000), draw=i)
        for i, task in enumerate(("sblimp", "swuggy"))
        for modality, level in ACCURACIES.items()
    ]
    return pd.concat(parts, ignore_index=True)


def final(frame, modality, task="sblimp"):
    chosen = (frame["modality"] == modality) & (frame["task"] == task) & (frame["layer"] == 2)
    return frame[chosen & (frame["tokens"] == 1000) & (frame["convention"] == "mean")]


def test_importing_contrasts_loads_nothing_heavy():
    heavy = {"pandas", "torch", "scipy"}
    code = f"import sys, ray_slm.evaluation.contrasts; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_the_papers_contrasts():
    assert paper_contrasts() == (A_BPE, A_RAW, B, C)
    laptop = paper_contrasts("speech-whisper")
    assert laptop[3] == dataclasses.replace(C, modality="speech-whisper")
    with pytest.raises(ValueError, match="compared with itself"):
        Contrast(factor="A", baseline="text-bpe", modality="text-bpe")


def test_table3_uses_the_final_layer_the_last_checkpoint_and_the_default(frame):
    table = table3(frame, (B, C)).set_index(["factor", "task"])
    before, after = (final(frame, name)["correct"].mean() for name in ("phone-raw", "phone-repeat"))
    row = table.loc[("B", "sblimp")]
    assert row["points"] == pytest.approx(100 * (after - before))
    assert row["low"] < row["points"] < row["high"] < 0
    assert row["boot_low"] < row["points"] < row["boot_high"]
    assert row["skill_lost"] == pytest.approx(100 * (before - after) / (before - 0.5))
    assert (row["num_pairs"], row["num_clusters"], row["num_seeds"]) == (300, 30, 3)
    assert row["tost"] == "inconclusive"
    assert row["note"] == ""


def test_table3_corrects_over_the_whole_family(frame):
    table = table3(frame, paper_contrasts())
    assert len(table) == 8
    missing = table["factor"] == "A"
    assert (table.loc[missing, "note"] == NOT_EVALUATED).all()
    assert table.loc[missing, ["points", "p_holm"]].isna().all(axis=None)
    np.testing.assert_array_equal(table["p_holm"], holm(table["p"].to_numpy()))
    smallest = table["p"].idxmin()
    assert table.loc[smallest, "p_holm"] == pytest.approx(8 * table.loc[smallest, "p"])


def test_table3_does_not_depend_on_the_order_of_rows(frame):
    shuffled = frame.sample(frac=1, random_state=1)
    pd.testing.assert_frame_equal(table3(shuffled, (B, C)), table3(frame, (B, C)))


def test_table3_says_when_there_was_one_seed(frame):
    table = table3(frame[frame["seed"] == 0], (B,))
    assert (table["note"] == "item noise only").all()
    wide, narrow = table3(frame, (B,)).loc[0], table.loc[0]
    assert wide["num_seeds"] > narrow["num_seeds"]


def test_contrasts_over_different_pairs_are_refused(frame):
    lost = (frame["modality"] == "phone-raw") & (frame["pair"] == "p0007")
    with pytest.raises(ValueError, match=r"phone-raw/sblimp and phone-repeat/sblimp.*p0007"):
        table3(frame[~lost], (B,))


def test_exploratory_contrasts_are_corrected_and_cluster_by_pair_within_a_subtype(frame):
    own = frame.assign(cluster=frame["subtype"])
    table = compare_by(own, (B, C), by="subtype")
    assert len(table) == 12
    assert table["low"].notna().all()
    assert (table["p_fdr"] >= table["p"]).all()
    assert table["num_pairs"].eq(100).all()


def test_accuracy_table_has_a_row_per_convention(frame):
    table = accuracy_table(frame)
    assert len(table) == 3 * 2 * 2
    assert set(table.loc[table["default"], "convention"]) == {"mean"}
    row = table[table["default"] & (table["modality"] == "phone-raw") & (table["task"] == "sblimp")]
    assert row["accuracy"].item() == pytest.approx(
        100 * final(frame, "phone-raw")["correct"].mean()
    )
    assert (table["low"] < table["accuracy"]).all()
    assert (table["accuracy"] < table["high"]).all()
    assert set(zip(table["num_pairs"], table["num_seeds"], strict=True)) == {(300, 3)}


def test_layers_bands_and_checkpoints(frame):
    layers = layer_table(frame)
    assert set(layers["layer"]) == {0, 2}
    assert abs(layers.loc[layers["layer"] == 0, "accuracy"].mean() - 50) < 5
    assert band_table(frame).empty
    banded = frame.assign(band=np.where(frame["pair"] < "p0100", "oov", "1-5"))
    bands = band_table(banded)
    assert len(bands) == 12
    assert bands.loc[bands["band"] == "oov", "num_pairs"].eq(100).all()
    points = checkpoint_table(frame)
    assert len(points) == 3 * 2 * 3 * 2
    assert set(points["tokens"]) == {500, 1000}


def test_categorical_columns_change_nothing(frame):
    names = ["modality", "task", "pair", "cluster", "type", "subtype", "band", "convention"]
    compact = frame.astype(dict.fromkeys(names, "category"))
    pd.testing.assert_frame_equal(table3(compact, (B, C)), table3(frame, (B, C)))
    pd.testing.assert_frame_equal(accuracy_table(compact), accuracy_table(frame), check_dtype=False)


def test_broken_frames_are_refused(frame):
    with pytest.raises(ValueError, match=r"lacks the columns \['band'\]"):
        headline(frame.drop(columns="band"))
    with pytest.raises(ValueError, match="empty"):
        headline(frame.iloc[:0])
    with pytest.raises(ValueError, match="correct is nan"):
        headline(frame.assign(correct=np.nan))


def layered(levels, num_pairs=400):
    """One model whose layers have these accuracies."""
    frames = []
    for layer, level in enumerate(levels):
        frame = decisions("m", 0.5, seeds=(0,), num_pairs=num_pairs, num_clusters=num_pairs)
        frame = frame[(frame["layer"] == 2) & (frame["convention"] == "mean")]
        right = np.arange(num_pairs) < round(level * num_pairs)
        frames.append(frame.assign(layer=layer, correct=right.astype(float)))
    return pd.concat(frames, ignore_index=True)


def test_half_of_the_final_skill_is_halfway_between_chance_and_the_last_layer():
    (row,) = half_skill_table(layered([0.5, 0.62, 0.66, 0.8])).to_dict("records")
    assert (row["layer"], row["final"], row["half"]) == (2.0, pytest.approx(80), pytest.approx(65))
    (row,) = half_skill_table(layered([0.5, 0.52, 0.51])).to_dict("records")
    assert np.isnan(row["layer"])
    assert row["note"] == NO_SKILL
