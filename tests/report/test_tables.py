import json
import math

import numpy as np
import pandas as pd
import pytest

from ray_slm.evaluation.budgets import UNEQUAL
from ray_slm.evaluation.curves import TOO_FEW
from ray_slm.evaluation.gaps import FAR
from ray_slm.report import answer, checks, columns, growth_tables, heard, printed, tables
from ray_slm.report.cells import HOLE
from ray_slm.report.page import html, render
from tests.report.made_up import RATES, made_up, nothing_ran

KEYS = {
    "table2": {"modality", "vocab_size", "num_tokens", "tokens_per_second", "hours"},
    "table4": {
        *("modality", "task", "convention", "default", "accuracy", "low", "high"),
        *("num_pairs", "num_seeds"),
    },
    "table3": {
        *("factor", "baseline", "modality", "task", "points", "low", "high", "logit"),
        *("skill_lost", "p_holm"),
    },
    "layers": {"modality", "task", "layer", "accuracy", "low", "high"},
    "quarantine": {"stage", "id", "reason", "detail"},
}


def strict(text):
    def refuse(word):
        raise AssertionError(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)


def written(results):
    results = tables.in_order(results)
    return strict(tables.tables_json(results, answer.answer(results).sentences))


def test_tables_json_has_the_promised_rows_and_columns():
    found = written(made_up())
    for name, keys in KEYS.items():
        assert found[name], name
        assert all(keys <= set(row) for row in found[name]), name
    expected = {"points", "fits", "fit_curves", "seed_slopes", "slope_ratios", "reach", "gaps"}
    assert set(found["scaling"]) == expected | {"loss_fits", "budgets", "views"}
    assert len(found["table2"]) == len(RATES)
    assert len(found["answer"]) == 2


def test_table2_divides_tokens_by_seconds_of_the_training_split():
    row = next(r for r in written(made_up())["table2"] if r["modality"] == "phone-raw")
    assert row["tokens_per_second"] == pytest.approx(11.1, abs=1e-3)
    assert row["hours"] == pytest.approx(9.83)
    assert row["num_tokens"] == round(9.83 * 3600 * 11.1)


def test_accuracies_stay_in_percent_and_counts_whole():
    rows = written(made_up())["table4"]
    assert max(row["accuracy"] for row in rows) > 50
    assert all(isinstance(row["num_pairs"], int) for row in rows)
    assert all(isinstance(row["default"], bool) for row in rows)


def test_what_is_not_a_number_is_null():
    results = made_up()
    table3 = results.table3.assign(skill_lost=math.nan, p_holm=math.inf)
    rows = written(results._replace(table3=table3))["table3"]
    assert {row["skill_lost"] for row in rows} == {None}
    assert {row["p_holm"] for row in rows} == {None}


def test_floats_have_six_significant_digits_and_counts_all_of_theirs():
    frame = pd.DataFrame({"accuracy": [61.23456789], "num_tokens": [1234567891.0], "seed": [3]})
    (row,) = tables.rows(frame)
    assert row == {"accuracy": 61.2346, "num_tokens": 1234567891, "seed": 3}


@pytest.mark.parametrize("value", [{1, 2}, object(), 1j])
def test_values_without_a_json_form_are_refused(value):
    with pytest.raises(ValueError, match="cannot stand in JSON"):
        tables.plain(value)


def test_the_order_of_rows_given_does_not_matter():
    results, rng = made_up(), np.random.default_rng(1)
    frames = {name: getattr(results, name) for name in columns.COLUMNS}
    mixed = results._replace(**{n: f.iloc[rng.permutation(len(f))] for n, f in frames.items()})
    assert written(results) == written(mixed)
    assert html(results) == html(mixed)


def test_a_missing_column_is_named():
    results = made_up()
    broken = results._replace(table3=results.table3.drop(columns=["logit"]))
    with pytest.raises(ValueError, match=r"table3 lacks \['logit'\]"):
        tables.in_order(broken)


def test_shares_instead_of_percent_are_refused():
    results = made_up()
    table4 = results.table4.assign(accuracy=results.table4["accuracy"] / 100)
    with pytest.raises(ValueError, match="percent"):
        tables.in_order(results._replace(table4=table4))


def test_an_impossible_accuracy_is_refused():
    results = made_up()
    layers = results.layers.assign(accuracy=101.0)
    with pytest.raises(ValueError, match="layers has an accuracy of 101"):
        tables.in_order(results._replace(layers=layers))


def test_a_cell_that_stands_twice_is_refused():
    results = made_up()
    doubled = pd.concat([results.table4, results.table4.iloc[:1]])
    with pytest.raises(ValueError, match="more than one row"):
        tables.in_order(results._replace(table4=doubled))


def test_a_study_without_a_question_is_refused():
    with pytest.raises(ValueError, match="question"):
        tables.in_order(nothing_ran()._replace(study={"name": "x", "notice": ""}))


def test_csv_files_hold_the_rows_of_the_json(tmp_path):
    render(made_up(1, 3), tmp_path)
    found = strict((tmp_path / "tables.json").read_text())
    for name in ("table2", "table3", "table4", "layers", "controls"):
        frame = pd.read_csv(tmp_path / "csv" / f"{name}.csv")
        assert len(frame) == len(found[name])
        assert set(frame.columns) == set(found[name][0])


def test_modalities_come_in_the_order_of_the_paper():
    names = ["speech-x", "zebra", "phone-repeat", "text-raw", "text-bpe"]
    expected = ["text-bpe", "text-raw", "phone-repeat", "speech-x", "zebra"]
    assert sorted(names, key=columns.modality_rank) == expected


def test_frequency_bands_rise():
    names = [">100", "21-100", "oov", "6-20", "1-5"]
    assert sorted(names, key=columns.band_rank) == ["oov", "1-5", "6-20", "21-100", ">100"]


def test_a_modality_that_was_not_evaluated_keeps_its_row_as_a_hole():
    results = made_up()
    gone = results.table4["modality"] == "phone-raw"
    table = printed.accuracies(tables.in_order(results._replace(table4=results.table4[~gone])))
    rows = {row.header: row for group in table.groups for row in group.rows}
    assert [cell.text for cell in rows["phone-raw"].cells] == [HOLE] * 3
    assert HOLE not in [cell.text for cell in rows["phone-bpe"].cells]


def test_an_interval_that_includes_chance_is_marked():
    results = made_up()
    near = results.table4.assign(accuracy=50.5, low=48.0, high=53.0)
    table = printed.accuracies(tables.in_order(results._replace(table4=near)))
    cells = [cell for group in table.groups for row in group.rows for cell in row.cells]
    assert {cell.text for cell in cells} == {"50.5\N{DAGGER}"}


@pytest.mark.parametrize(
    ("low", "high", "given", "shown"),
    [
        (-15.0, -9.0, "inconclusive", "no"),
        (-3.0, 0.5, "inconclusive", "inconclusive"),
        (-0.5, 0.4, "equivalent", "yes"),
    ],
)
def test_equivalence_is_a_verdict_only_where_the_interval_allows_one(low, high, given, shown):
    results = made_up()
    table3 = results.table3.assign(low=low, high=high, tost=given)
    table = printed.contrasts(tables.in_order(results._replace(table3=table3)))
    assert {row.cells[4].text for group in table.groups for row in group.rows} == {shown}


def test_a_control_away_from_chance_stands_out():
    results = made_up()
    controls = results.controls.assign(accuracy=60.0, low=57.0, high=63.0)
    changed = tables.in_order(results._replace(controls=controls))
    for table, kinds in (
        (checks.controls(changed), {"alarm"}),
        (checks.baselines(changed), {"", "quiet"}),
    ):
        assert {c.kind for g in table.groups for r in g.rows for c in r.cells} == kinds


def test_a_scorer_that_fails_its_self_test_stands_out():
    results = made_up()
    for changed, alarms in (({}, 0), ({"negated": 1.0}, 3), ({"unchanged_by_shuffling": False}, 3)):
        frame = results.self_tests.assign(**changed)
        table = checks.self_tests(tables.in_order(results._replace(self_tests=frame)))
        assert [c.kind for r in table.groups[0].rows for c in r.cells].count("alarm") == alarms


def test_every_seed_of_a_control_is_shown():
    table = checks.controls(tables.in_order(made_up(num_seeds=2)))
    headers = [row.header for row in table.groups[0].rows]
    assert headers[:3] == ["text-bpe, seed 0", "text-bpe, seed 1", "text-raw, seed 0"]
    cells = [cell for group in table.groups for row in group.rows for cell in row.cells]
    assert len(cells) == len(made_up(num_seeds=2).controls) - 2  # the two n-grams


def test_an_accuracy_never_reached_is_said_to_be_so():
    table = growth_tables.growth(tables.in_order(made_up()))
    assert [c.text for c in table.columns][1:] == ["Tokens to 55 %, ratio", "Tokens to 60 %, ratio"]
    last = table.groups[-1].rows[-1]
    assert last.cells[2].text == "never"
    assert last.cells[1].text.endswith(printed.DAGGER)


def test_tokens_to_an_accuracy_say_where_they_are_extrapolated():
    results = made_up()
    row = {"modality": "text-bpe", "task": "swuggy", "goal": 55, "interval": "within-run"}
    nowhere = {"low": math.nan, "high": math.nan}
    rows = [
        {**row, "tokens": 12_300_000.0, "low": 8e6, "high": 2e7, "note": ""},
        {**row, "goal": 60, "tokens": 4e7, "low": 3e7, "high": 9e8, "note": "extrapolated"},
        {**row, "goal": 70, "tokens": math.inf, **nowhere, "note": "not reached"},
        {**row, "goal": 80, "tokens": 9e9, "low": 1e6, "high": 9e99, "note": FAR},
        {**row, "goal": 90, "tokens": math.nan, "low": math.nan, "high": math.nan, "note": TOO_FEW},
    ]
    found = tables.in_order(results._replace(reach=pd.DataFrame(rows)))
    ((cells,),) = ([r.cells for r in group.rows] for group in growth_tables.reach(found).groups)
    assert [(c.text, c.detail) for c in cells] == [
        ("12.3M", "8M to 20M"),
        (f"40M{printed.DAGGER}", "30M to 900M"),
        ("never", ""),
        ("far", ""),
        ("n/a", ""),
    ]


def test_forms_are_compared_by_held_out_error_and_the_least_is_bold():
    results = made_up()
    for table, frame in (
        (growth_tables.fits, results.scaling_fits.query("task == 'swuggy'")),
        (growth_tables.loss_fits, results.loss_fits),
    ):
        errors = frame[frame["modality"] == "phone-raw"].set_index("form")["heldout_error"]
        forms = [form for form in growth_tables.FORMS if form in errors]
        rows = {row.header: row.cells for row in table(tables.in_order(results)).groups[0].rows}
        cells = rows["phone-raw"][: len(forms)]
        assert [cell.text for cell in cells] == [f"{errors[form]:.2f}" for form in forms]
        assert [cell.kind == "clear" for cell in cells] == [f == errors.idxmin() for f in forms]


def test_every_run_has_its_slopes_and_every_contrast_its_views():
    results = tables.in_order(made_up(num_seeds=3))
    slopes = growth_tables.seed_slopes(results)
    assert [c.text for c in slopes.columns] == ["Run 1", "Run 2", "Run 3"]
    assert len(slopes.groups) == 3
    assert all(cell.detail.endswith(" /M") for cell in slopes.groups[0].rows[0].cells)
    views = printed.views(results)
    assert [c.text for c in views.columns] == ["Equal audio", "Equal tokens", "Equal FLOPs"]
    assert {len(group.rows) for group in views.groups} == {3}
    noted = results._replace(views=results.views.assign(note=f"item noise only; {UNEQUAL}"))
    assert printed.views(noted).groups[0].rows[0].cells[1].text.endswith(printed.DAGGER)
    (layer,) = {row.cells[0].text for row in printed.half_skill(results).groups[0].rows}
    assert layer == "4"


def test_samples_are_counted_otherwise_too():
    table = heard.scopes(tables.in_order(made_up()))
    rows = {row.header: row.cells for row in table.groups[0].rows}
    assert rows["text-raw"][2].text != "n/a"
    assert rows["phone-raw"][2].text == "n/a"


def test_bands_of_two_tasks_stay_apart():
    bands = made_up().bands
    both = pd.concat(
        [bands.assign(task="swuggy"), bands.assign(task="other", accuracy=99.0, low=98.0)]
    )
    table = checks.bands(tables.in_order(made_up()._replace(bands=both)))
    texts = [{c.text for r in g.rows for c in r.cells} for g in table.groups]
    assert [g.label for g in table.groups] == ["sWUGGY-style", "other"]
    assert texts[1] == {"99.0"}
    assert not texts[0] & texts[1]


def test_a_long_quarantine_is_cut_on_the_page_and_whole_in_the_csv(tmp_path):
    results = made_up()
    many = pd.concat([results.quarantine] * 40, ignore_index=True)
    many["id"] = [f"item-{i}" for i in range(len(many))]
    render(results._replace(quarantine=many), tmp_path)
    table = printed.quarantine_items(tables.in_order(results._replace(quarantine=many)))
    assert len(table.groups[0].rows) == printed.MAX_ROWS
    assert f"{len(many):,}" in table.caption
    assert len(pd.read_csv(tmp_path / "csv" / "quarantine.csv")) == len(many)
