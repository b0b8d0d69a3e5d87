"""The frames that evaluation makes are the frames that the report reads."""

import pandas as pd

from ray_slm.evaluation.budgets import best_forms, curve_table, seed_slopes, view_table
from ray_slm.evaluation.contrasts import paper_contrasts, table3
from ray_slm.evaluation.controls import shuffled_labels
from ray_slm.evaluation.conventions import flip_table
from ray_slm.evaluation.gaps import gap_table, reach_table, slope_ratio_table
from ray_slm.evaluation.scaling import scaling_table
from ray_slm.evaluation.tables import (
    accuracy_table,
    band_table,
    checkpoint_table,
    half_skill_table,
    layer_table,
)
from ray_slm.report import answer, tables
from ray_slm.report.page import html
from tests.evaluation.frames import decisions
from tests.report.made_up import made_up

ACCURACIES = {
    "text-bpe": 0.82,
    "text-raw": 0.81,
    "phone-bpe": 0.81,
    "phone-raw": 0.80,
    "phone-repeat": 0.70,
    "speech-hubert": 0.55,
}
CONTRASTS = paper_contrasts()
ONES = dict.fromkeys(ACCURACIES, 1.0)


def evaluated():
    """Results whose evaluation frames come from the evaluation itself."""
    budgets = (1000, 3000, 10_000, 30_000)
    scores = pd.concat(
        decisions(name, accuracy, tokens=budgets, num_pairs=200, num_clusters=20)
        for name, accuracy in ACCURACIES.items()
    )
    shuffled = checkpoint_table(shuffled_labels(scores))
    last = shuffled["tokens"] == shuffled["tokens"].max()
    baseline = {"name": "3-gram", "modality": "none", "task": "sblimp", "accuracy": 61.0}
    controls = [shuffled[last].assign(name="shuffled labels"), pd.DataFrame([baseline])]
    return made_up()._replace(
        table4=accuracy_table(scores),
        table3=table3(scores, CONTRASTS),
        layers=layer_table(scores),
        scaling_points=checkpoint_table(scores),
        scaling_fits=scaling_table(scores),
        fit_curves=curve_table(scores, best_forms(scaling_table(scores))),
        seed_slopes=seed_slopes(scores),
        reach=reach_table(scores, 75.0),
        half_skill=half_skill_table(scores),
        views=view_table(scores, CONTRASTS, ONES, ONES),
        controls=pd.concat(controls, ignore_index=True),
        bands=band_table(scores, by="subtype").rename(columns={"subtype": "band"}),
        flips=flip_table(scores),
        slope_ratios=slope_ratio_table(scores, CONTRASTS),
        gaps=gap_table(scores, CONTRASTS, 75.0),
    )


def test_what_evaluation_computes_is_what_the_page_shows():
    results = evaluated()
    page = html(results)
    default = results.table4[results.table4["default"]]
    assert len(default) == len(ACCURACIES)
    for row in default.to_dict(orient="records"):
        assert f"{row['accuracy']:.1f}" in page
        assert f"{row['low']:.1f} to {row['high']:.1f}" in page


def test_the_answer_follows_from_the_contrasts():
    results = tables.in_order(evaluated())
    worst = results.table3.loc[results.table3["points"].idxmin()]
    first, _ = answer.answer(results).sentences
    assert first.startswith(f"Factor {worst['factor']} ")
    assert f"{abs(worst['points']):.1f} points" in first
