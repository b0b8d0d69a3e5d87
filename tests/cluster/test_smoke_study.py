"""The smoke study on Ray, from audio to report: what a user finds afterwards."""

import json
import shutil
import subprocess
import sys

import pandas as pd
import pytest

from ray_slm.corpora.utterance import read_utterances
from ray_slm.scheduling.plan import plan
from ray_slm.scheduling.store import Store
from ray_slm.stages import results
from ray_slm.stages.evaluate import SCORES, read_pairs
from ray_slm.studies.smoke import STUDY
from ray_slm.tokens import TokenStore
from tests import smoke

pytestmark = pytest.mark.cluster
STAGES = {stage.name: stage for stage in plan(STUDY)}


@pytest.fixture(scope="session")
def store(finished):
    return Store(finished)


def test_every_stage_has_a_record_and_every_file_its_digest(finished, store):
    assert all(store.has(stage.address) for stage in STAGES.values())
    assert len(smoke.digest("smoke", finished)) == 64
    assert not (finished / ".ray").exists()


def test_secrets_of_the_environment_turn_up_in_no_result_mirror_or_log(finished, logs_of_ray):
    assert not smoke.holding_a_secret(finished)
    assert not smoke.holding_a_secret(logs_of_ray)


def test_a_second_run_makes_nothing(finished):
    found = smoke.call("run", "smoke", finished)
    assert found.returncode == 0
    assert "nothing to do" in found.stdout


def test_all_six_modalities_hold_the_same_utterances(store):
    corpus = store.path(STAGES["corpus/laptop"].address)
    expected = sorted(u.id for u in read_utterances(corpus, ("train",)))
    assert len(expected) > 20
    for modality in STUDY.modalities:
        folder = store.path(STAGES[f"tokens/{modality.name}/laptop"].address)
        assert list(TokenStore.open(folder, "train").ids) == expected, modality.name


def test_50_hz_modalities_have_equal_lengths(store):
    lengths = [
        TokenStore.open(store.path(STAGES[f"tokens/{name}/laptop"].address), "dev").lengths.tolist()
        for name in ("phone-repeat", "speech-whisper")
    ]
    assert lengths[0] == lengths[1]


def test_training_novels_are_not_test_novels(store):
    corpus = store.path(STAGES["corpus/laptop"].address)
    books = {
        split: {u.book for u in read_utterances(corpus, (split,))} for split in ("train", "dev")
    }
    assert books["train"].isdisjoint(books["dev"])


def test_scores_hold_every_item_at_every_layer(store):
    name = next(name for name in STAGES if name.startswith("evaluate/speech-whisper/"))
    stage = STAGES[name]
    scores = pd.read_parquet(store.path(stage.address) / SCORES)
    pairs = read_pairs(store.path(stage.inputs["items"].address))
    assert scores["layer"].nunique() == STUDY.scale.layers + 1
    assert scores["utterance"].nunique() == 2 * len(pairs) * len(STUDY.item_voices)
    assert {"logp_sum", "logp_first", "logp_eos", "num_tokens", "seconds"} <= set(scores.columns)


def test_the_tables_have_the_promised_columns(finished):
    tables = json.loads((finished / "studies/smoke/report/tables.json").read_text())
    assert {r["modality"] for r in tables["table2"]} == {m.name for m in STUDY.modalities}
    for name, columns in {
        "table2": {"modality", "vocab_size", "num_tokens", "tokens_per_second", "hours"},
        "table4": {"modality", "task", "convention", "default", "accuracy", "low", "high"}
        | {"num_pairs", "num_seeds"},
        "table3": {"factor", "baseline", "modality", "task", "points", "low", "high", "logit"}
        | {"skill_lost", "p_holm"},
    }.items():
        assert columns <= set(tables[name][0]), name
    assert {"layers", "scaling", "quarantine"} <= set(tables)
    assert {row["convention"] for row in tables["table4"]} >= {"mean", "sum", "per_second"}


# In a process of its own: MLflow's imports warn, and pytest takes warnings for errors.
READ_MLFLOW = """
import json, sys
from mlflow import MlflowClient

client = MlflowClient("sqlite:///" + sys.argv[1])
experiment = client.get_experiment_by_name("ray_slm")
runs = []
for run in client.search_runs([experiment.experiment_id], max_results=100):
    names = ("accuracy/swuggy", "loss", "bits_per_second")
    steps = {n: [p.step for p in client.get_metric_history(run.info.run_id, n)] for n in names}
    about = {"id": run.info.run_id, "name": run.info.run_name, "status": run.info.status}
    runs.append({**about, "tags": run.data.tags, "steps": steps})
print(json.dumps(runs))
"""


def test_mlflow_has_a_parent_and_a_child_per_run_with_metrics_against_tokens(finished):
    command = [sys.executable, "-c", READ_MLFLOW, str(finished / "mlflow.db")]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    runs = json.loads(found.stdout)
    (parent,) = [run for run in runs if run["name"] == "smoke"]
    children = [r for r in runs if r["tags"].get("mlflow.parentRunId") == parent["id"]]
    assert len(children) == len(STUDY.modalities)
    assert {run["status"] for run in runs} == {"FINISHED"}
    for run in children:
        address = run["tags"]["ray_slm.address"]
        assert address.endswith(run["tags"]["ray_slm.fingerprint"])
        checkpoints = STAGES[address.rsplit("/", 1)[0]].recipe.checkpoints
        assert sorted(run["steps"]["accuracy/swuggy"]) == list(checkpoints)
        assert len(run["steps"]["bits_per_second"]) >= len(checkpoints)
        assert len(run["steps"]["loss"]) == len(set(run["steps"]["loss"])) > 0


def test_the_local_backend_gives_the_same_bytes(finished, tmp_path, places):
    """Ray is how a study runs, never what it means."""
    found = smoke.call("run", "smoke", tmp_path, "--backend", "local", "--quiet")
    assert found.returncode == 0, found.stderr
    assert smoke.digest("smoke", tmp_path) == smoke.digest("smoke", finished)


def test_a_flipped_bit_is_found_and_named(finished, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(finished, copy)
    (path,) = (copy / STAGES["vocabulary/text-bpe"].address).glob("*.model")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    found = smoke.call("verify", "smoke", copy)
    assert found.returncode == 5
    assert path.name in found.stderr


def test_ids_in_are_ids_out_and_ids_quarantined(store):
    for modality in STUDY.modalities:
        stage = STAGES[f"tokens/{modality.name}/laptop"]
        corpus = store.path(stage.inputs["corpus"].address)
        ids_in = sorted(u.id for u in read_utterances(corpus))
        folder = store.path(stage.address)
        splits = store.record(stage.address)["summary"]["splits"]
        ids_out = [i for split in splits for i in TokenStore.open(folder, split).ids]
        refused = [line["id"] for line in results.read_lines(folder / "quarantine.jsonl")]
        assert sorted([*ids_out, *refused]) == ids_in


TWO_WORKERS = """
from dataclasses import replace
from ray_slm.studies import smoke

STUDY = replace(
    smoke.STUDY,
    name="two-workers",
    contrasts=(),
    tasks=smoke.STUDY.tasks[:1],
    modalities=tuple(m for m in smoke.STUDY.modalities if m.name == "phone-raw"),
    precision="fp32",
    train_workers=WORKERS,
)
"""


def test_two_ray_train_workers_learn_what_one_learns(tmp_path, places):
    """Gradients are summed over ranks: the same address, and losses equal to 1e-5."""
    losses = []
    for workers in (1, 2):
        study = tmp_path / f"study{workers}.py"
        study.write_text(TWO_WORKERS.replace("WORKERS", str(workers)))
        root = tmp_path / f"root{workers}"
        found = smoke.call("run", str(study), root, "--quiet")
        assert found.returncode == 0, found.stderr
        (path,) = root.glob("train/phone-raw/seed-0/*/losses.jsonl")
        losses.append([line["loss"] for line in results.read_lines(path)])
    assert len(losses[0]) > 2
    assert losses[1] == pytest.approx(losses[0], abs=1e-5)
