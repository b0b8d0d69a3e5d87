import math
import struct

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_slm.report import svg
from ray_slm.report.chart import linear_axis, log_axis, minus, short, slots
from ray_slm.report.figures import all_figures
from ray_slm.report.images import write_images
from ray_slm.report.lines import MAX_POINTS
from ray_slm.report.tables import in_order
from tests.report.made_up import CEILINGS, RATES, made_up, nothing_ran

FINITE = st.floats(-1e9, 1e9).filter(lambda v: v == 0 or abs(v) > 1e-6)


def figures_of(results):
    return {figure.id: figure for figure in all_figures(in_order(results))}


def series_of(panel, kind):
    return {s.name: s for s in panel.series if s.kind == kind}


def test_figure1_draws_the_mean_over_seeds_of_every_modality():
    results = made_up(num_seeds=3)
    figure = figures_of(results)["figure1"]
    assert [panel.title for panel in figure.panels] == [
        *("sWUGGY-style", "sBLIMP-style", "Topic-StoryCloze-style")
    ]
    for task, panel in zip(CEILINGS, figure.panels, strict=True):
        means = series_of(panel, "mean")
        assert list(means) == list(RATES)
        for modality, series in means.items():
            points = results.scaling_points
            rows = points[(points["task"] == task) & (points["modality"] == modality)]
            expected = rows.groupby("tokens")["accuracy"].mean()
            assert [p.x for p in series.points] == list(expected.index)
            assert np.allclose([p.y for p in series.points], expected)


def test_every_seed_is_drawn_when_there_are_several_and_none_when_there_is_one():
    several, one = (figures_of(made_up(n))["figure1"].panels[0].series for n in (3, 1))
    assert sum(s.kind == "seed" for s in several) == 3 * len(RATES)
    assert sum(s.kind == "seed" for s in one) == 0


def test_fitted_curves_are_dashed_from_where_training_ended():
    results = made_up()
    panel = figures_of(results)["figure1"].panels[0]
    inside, beyond = (series_of(panel, kind)["text-bpe"].points for kind in ("fit", "beyond"))
    own = results.fit_curves.query("task == 'swuggy' and modality == 'text-bpe'")
    drawn = [(p.x, p.y) for p in (*inside, *beyond[1:])]
    assert np.allclose(drawn, own[["tokens", "accuracy"]])
    assert inside[-1] == beyond[0]
    last = series_of(panel, "mean")["text-bpe"].points[-1].x
    assert inside[-1].x <= last < beyond[-1].x


def test_figure_1_stands_on_three_axes_with_the_same_accuracies():
    results = made_up()
    figures, rates = figures_of(results), results.budgets.set_index("modality")
    by_tokens = series_of(figures["figure1"].panels[0], "mean")
    for budget in ("hours", "flops"):
        found = series_of(figures[f"figure1-{budget}"].panels[0], "mean")
        assert list(found) == list(by_tokens)
        for modality, series in found.items():
            factor = rates.loc[modality, f"{budget}_per_token"]
            assert np.allclose(
                [p.x for p in series.points], [factor * p.x for p in by_tokens[modality].points]
            )
            assert [p.y for p in series.points] == [p.y for p in by_tokens[modality].points]
    ends = {s.points[-1].x for s in series_of(figures["figure1-hours"].panels[0], "mean").values()}
    assert np.allclose([*ends], 10.0, rtol=1e-3), "budgets were hours of audio"


def test_axes_of_unknown_cost_are_left_out():
    figures = figures_of(made_up()._replace(budgets=pd.DataFrame()))
    assert [len(figures[f"figure1{axis}"].panels) for axis in ("", "-hours", "-flops")] == [3, 0, 0]


def test_layers_are_split_into_figures_2_and_3():
    figures = figures_of(made_up())
    assert [len(figures[name].panels) for name in ("figure2", "figure3")] == [1, 2]
    assert len(figures["figure2"].frame) + len(figures["figure3"].frame) == len(made_up().layers)


def test_contrasts_are_worse_to_the_left_on_every_scale():
    figure = figures_of(made_up())["figure4"]
    for panel in figure.panels:
        point = next(p for s in panel.series for p in s.points if p.label.startswith("C,"))
        assert panel.x.fraction(point.x) < panel.x.fraction(0.0)


def test_a_contrast_without_skill_is_left_out_of_that_scale_alone():
    results = made_up()
    table3 = results.table3.assign(skill_lost=math.nan)
    panels = figures_of(results._replace(table3=table3))["figure4"].panels
    assert [sum(len(s.points) for s in panel.series) for panel in panels] == [12, 12, 0]


def test_losses_use_the_values_of_the_frame():
    results = made_up()
    panel = figures_of(results)["figure5"].panels[0]
    last = series_of(panel, "mean")["phone-raw"].points[-1]
    rows = results.losses.query("modality == 'phone-raw'")
    top = rows[rows["tokens"] == rows["tokens"].max()]
    assert last.y == pytest.approx(top["bits_per_second"].mean())


def test_long_loss_curves_are_thinned_but_keep_both_ends():
    results = made_up(num_seeds=1, num_checkpoints=400)
    series = series_of(figures_of(results)["figure5"].panels[0], "mean")["text-bpe"]
    tokens = results.losses.query("modality == 'text-bpe'")["tokens"]
    assert len(series.points) <= MAX_POINTS
    assert (series.points[0].x, series.points[-1].x) == (tokens.min(), tokens.max())


def test_a_line_never_runs_from_the_untrained_model():
    figure = figures_of(made_up(1))["figure1"]
    text = svg.draw(figure)[0]
    lines = text.split('<g class="series s0 mean"')[1].split("</g>")[0]
    first = lines.split('class="line" d="')[1].split('"')[0]
    marks = lines.count('role="img"')
    assert first.count("L") == marks - 2  # all but the untrained, joined


def test_a_hole_breaks_the_line():
    results = made_up(1)
    layers = results.layers.copy()
    layers.loc[layers["layer"] == 3, ["accuracy", "low", "high"]] = math.nan
    figure = figures_of(results._replace(layers=layers))["figure2"]
    lines = svg.draw(figure)[0].split('<g class="series s0 mean"')[1].split("</g>")[0]
    assert lines.split('class="line" d="')[1].split('"')[0].count("M") == 2
    assert "layer 3" not in lines


def test_an_empty_study_has_figures_without_panels():
    assert [len(f.panels) for f in all_figures(in_order(nothing_ran()))] == [0] * 8


def test_every_figure_becomes_a_png_and_a_pdf(tmp_path):
    for name in ("png", "pdf"):
        (tmp_path / name).mkdir()
    for figure in all_figures(in_order(made_up())):
        write_images(tmp_path, figure)
        content = (tmp_path / "png" / f"{figure.id}.png").read_bytes()
        width, height = struct.unpack(">II", content[16:24])
        assert content.startswith(b"\x89PNG")
        assert min(width, height) > 300
        assert b"Software" not in content
        drawn = (tmp_path / "pdf" / f"{figure.id}.pdf").read_bytes()
        assert drawn.startswith(b"%PDF")
        assert b"CreationDate" not in drawn


def test_modalities_keep_their_style_whatever_else_a_study_has():
    few, many = slots(["phone-raw", "speech-mfcc"]), slots([*RATES, "speech-mfcc", "new"])
    assert few["phone-raw"] == many["phone-raw"]
    assert len(set(many.values())) == len(many)


@given(st.lists(FINITE, min_size=1, max_size=20))
def test_a_linear_axis_holds_its_values_and_few_ticks(values):
    axis = linear_axis("", values)
    assert all(-1e-9 <= axis.fraction(v) <= 1 + 1e-9 for v in values)
    assert 2 <= len(axis.ticks) <= 8
    assert len({text for _, text in axis.ticks}) == len(axis.ticks)


@given(st.lists(st.floats(1, 1e12), min_size=1, max_size=20), st.booleans())
def test_a_log_axis_holds_its_values_and_a_place_for_zero(values, zero):
    axis = log_axis("", [*values, *([0.0] if zero else [])])
    places = [axis.fraction(v) for v in values]
    assert all(-1e-9 <= place <= 1 + 1e-9 for place in places)
    assert len(axis.ticks) <= 8 + zero
    if zero:
        assert axis.fraction(0.0) < min(places)


def test_numbers_are_short_and_signs_real():
    assert [short(v) for v in (12.5, 1200, 999_999, 2_249_000_000)] == [
        "12.5",
        "1.2k",
        "1M",
        "2.25B",
    ]
    assert [minus(t) for t in ("-1.5", "-0.0", "2.0")] == ["\N{MINUS SIGN}1.5", "0.0", "2.0"]
