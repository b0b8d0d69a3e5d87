"""Learning-rate sweeps: what is tried, what is said of it, and one real sweep on Ray."""

import json
import math
import subprocess
import sys
from dataclasses import replace

import pytest

from ray_slm import sweep
from ray_slm.recipes import Train
from ray_slm.scheduling.plan import plan
from ray_slm.scheduling.store import Store
from ray_slm.studies import smoke as smoke_study
from ray_slm.sweep import Grid, Trial
from tests import smoke

STUDY = smoke_study.STUDY
RATES = (5e-4, 2e-3, 8e-3)
TOO_MUCH = 1e18


def trial(rate, nats, tokens=900, modality="text-raw"):
    return Trial(
        modality=modality,
        peak_lr=rate,
        tokens=tokens,
        of_tokens=900,
        nats_per_token=nats,
        bits_per_second=None if nats is None else 10 * nats,
        address=f"sweep/{modality}/lr-{rate:g}/abc",
    )


def test_trials_differ_from_the_study_in_rate_and_budget_alone():
    stages = sweep.trials(STUDY, Grid(rates=RATES, modalities=("text-raw", "phone-repeat")))
    assert [stage.name.split("/")[1] for stage in stages] == ["phone-repeat"] * 3 + ["text-raw"] * 3
    assert len({stage.address for stage in stages}) == 6
    (train,) = (s for s in plan(STUDY) if s.name == "train/text-raw/seed-0")
    for stage in stages[3:]:
        recipe = stage.recipe
        assert isinstance(recipe, Train)
        assert isinstance(train.recipe, Train)
        assert stage.inputs["tokens"].address == train.inputs["tokens"].address
        assert (recipe.scale, recipe.batching) == (train.recipe.scale, train.recipe.batching)
        assert recipe.total_tokens == pytest.approx(train.recipe.total_tokens / 4, abs=1)
        assert stage.name == f"sweep/text-raw/lr-{recipe.optimizer.peak_lr:g}"


def test_a_sweep_makes_the_tokens_of_its_modalities_alone():
    names = {s.name for s in sweep.token_stages(STUDY, Grid(rates=RATES, modalities=("text-bpe",)))}
    assert "tokens/text-bpe/laptop" in names
    assert "corpus/laptop" in names
    assert not any("phone" in name or "speech" in name or "items" in name for name in names)


@pytest.mark.parametrize(
    ("grid", "match"),
    [
        (Grid(rates=RATES, modalities=("morse",)), "morse"),
        (Grid(rates=(1e-3,)), "two or more"),
        (Grid(rates=(1e-3, 1e-3)), "different"),
        (Grid(rates=(1e-3, -1e-3)), "above 0"),
        (Grid(rates=RATES, hours=0.0), "--hours"),
    ],
)
def test_grids_that_cannot_be_tried_are_refused(grid, match):
    with pytest.raises(ValueError, match=match):
        sweep.trials(STUDY, grid)


def test_the_best_rate_is_chosen_among_trials_that_came_to_their_end():
    found = [trial(5e-4, 2.5), trial(2e-3, 2.0), trial(8e-3, 1.9, tokens=100)]
    (row,) = sweep.verdicts(found, 5e-4)
    assert (row["best_lr"], row["at_the_edge"]) == (2e-3, False)
    assert row["loss_of_study_rate"] == pytest.approx(0.5)
    assert "stopped early" in sweep.text(found, 5e-4)


def test_a_best_rate_at_the_edge_asks_for_a_wider_grid():
    found = [trial(5e-4, 2.5), trial(2e-3, 2.0), trial(8e-3, 1.9)]
    (row,) = sweep.verdicts(found, 1e-3)
    assert (row["best_lr"], row["at_the_edge"], row["loss_of_study_rate"]) == (8e-3, True, None)
    assert "try further rates" in sweep.text(found, 1e-3)


def test_rates_at_which_runs_diverge_are_answers_too():
    lost = trial(8e-3, None, tokens=50)
    found = [trial(5e-4, 2.5), trial(2e-3, 2.0), lost]
    (row,) = sweep.verdicts(found, 8e-3)
    assert (row["best_lr"], row["at_the_edge"], row["loss_of_study_rate"]) == (2e-3, False, None)
    assert "diverged" in sweep.text(found, 8e-3)
    assert not lost.stopped
    assert sweep.verdicts([lost], 8e-3) == []
    assert "no trial came to its end" in sweep.text([lost], 8e-3)


def test_what_was_tried_is_published_by_modality(tmp_path):
    store = Store(tmp_path)
    assert sweep.published("smoke", store) == []
    best, early, lost = trial(2e-3, 2.0), trial(5e-4, 2.5, tokens=100), trial(8e-3, None, tokens=9)
    other = trial(1e-3, 3.0, modality="phone-raw")
    both, one = Grid(rates=RATES), Grid(rates=RATES, modalities=("phone-raw",), hours=0.5)
    sweep.publish(STUDY, both, [best, early, lost, other], store)
    sweep.publish(STUDY, one, [replace(other, nats_per_token=2.5)], store)  # one modality again
    assert sweep.grids("smoke", store) == [one, both]
    rows = {(r["modality"], r["peak_lr"]): r for r in sweep.published("smoke", store)}
    assert [(r["excess"], r["note"]) for r in rows.values()] == [
        (0.0, "best, at the edge of the grid"),
        (0.0, "best; the study's rate"),
        (None, "stopped early"),
        (None, "diverged"),
    ]
    assert rows["phone-raw", 1e-3]["nats_per_token"] == 2.5


READ_MLFLOW = """
import json, sys
from mlflow import MlflowClient

client = MlflowClient("sqlite:///" + sys.argv[1])
runs = client.search_runs([client.get_experiment_by_name("ray_slm").experiment_id])
found = [[r.info.run_name, r.info.status, r.data.params.get("optimizer.peak_lr")] for r in runs]
print(json.dumps(found))
"""


@pytest.mark.cluster
def test_a_sweep_on_ray_ends_with_a_table_records_mlflow_and_a_page(tmp_path, places):
    rates = (*RATES, TOO_MUCH)
    options = [part for rate in rates for part in ("--lr", str(rate))]
    options += ["--modality", "text-raw", "--hours", "0.03", "--json"]
    found = smoke.call("sweep", "smoke", tmp_path, *options)
    assert found.returncode == 0, found.stderr
    told = json.loads(found.stdout)
    assert sorted(row["peak_lr"] for row in told["trials"]) == list(rates)
    assert [r["peak_lr"] for r in told["trials"] if r["nats_per_token"] is None] == [TOO_MUCH]
    assert any(row["tokens"] >= row["of_tokens"] for row in told["trials"])
    best = min(row["nats_per_token"] or math.inf for row in told["trials"])
    assert told["verdicts"][0]["nats_per_token"] == pytest.approx(best, rel=0.2)
    folder = tmp_path / "studies" / "smoke"
    kept = json.loads((folder / "sweep" / "text-raw.json").read_text())
    assert kept["verdicts"] == told["verdicts"]
    ended = [row for row in kept["trials"] if row["tokens"] >= row["of_tokens"]]
    best = min(ended, key=lambda row: row["nats_per_token"])  # others may be halved at their end
    assert (tmp_path / best["address"] / "record.json").exists()
    command = [sys.executable, "-c", READ_MLFLOW, str(tmp_path / "mlflow.db")]
    runs = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    names = {f"text-raw lr-{rate:g}" for rate in rates}
    assert {name for name, _, _ in runs} == {"smoke-sweep", *names}
    assert {rate for _, _, rate in runs if rate} == {str(rate) for rate in rates}
    again = tmp_path / "again.db"  # another store of MLflow's is brought up to date
    synced = smoke.call("sync", "smoke", tmp_path, "--tracking-uri", f"sqlite:///{again}")
    assert synced.returncode == 0, synced.stderr
    command[-1] = str(again)
    sent = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert sorted(run for run in sent if run[0] != "smoke") == sorted(runs)
    status = {name: status for name, status, _ in runs}
    assert status.pop("smoke-sweep") == "FINISHED"
    assert set(status.values()) <= {"FINISHED", "KILLED"}
    page = (folder / "report" / "index.html").read_text()
    assert "Peak learning rates on trial" in page
    assert "diverged" in page
