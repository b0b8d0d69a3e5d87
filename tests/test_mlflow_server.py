"""A real MLflow server with its artifacts in a bucket: outages, what lands there, how it looks.

The study is the smoke study's plan, cooling down before each checkpoint in a branch, with journals
and records written here, so that the test takes seconds; a whole smoke study's mirror is looked at
in tests/cluster.
"""

import contextlib
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import boto3
import numpy as np
import pytest
from matplotlib import image
from moto.server import ThreadedMotoServer

from ray_slm import tracked
from ray_slm.recipes import Evaluate, Report, Tokenize
from ray_slm.scheduling.plan import checkpoint_part, plan
from ray_slm.scheduling.store import Store
from ray_slm.study import load_study
from tests import smoke
from tests.dashboards.prometheus import free_port

BUCKET = "mlflow-artifacts"
KEYS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
}
BRANCHED = """
from dataclasses import replace
from ray_slm.studies import smoke

STUDY = replace(
    smoke.STUDY,
    name="branched",
    optimizer=replace(smoke.STUDY.optimizer, schedule="wsd-branches"),
    checkpoint_hours=(0.0, 0.02, 0.05, 0.1),
)
"""
STEPS = 20


@pytest.fixture(scope="module")
def study_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("study") / "branched.py"
    path.write_text(BRANCHED)
    return path


@pytest.fixture(scope="module")
def stages(study_file):
    return plan(load_study(str(study_file)))


@pytest.fixture(scope="module")
def six(stages):
    return list(tracked.lines(stages).values())


def line(stage, step):
    """A journal line: losses fall, differently in each modality; one of them is not finite."""
    recipe, slope = stage.recipe, 0.01 * len(stage.name.split("/")[1])
    first = recipe.forked_at or 0
    bad = stage.name == "train/text-bpe/seed-0" and step == 3
    loss = math.inf if bad else 4 * math.exp(-slope * step)
    tokens = first + round((recipe.total_tokens - first) * step / STEPS)
    return {"time": 1.7e9 + step, "step": step, "tokens": tokens, "loss": loss, "attempt": 1}


def write_journal(store, stage, steps):
    path = store.scratch(stage.address) / "journal-0001.jsonl"
    with path.open("a") as file:
        file.writelines(json.dumps(line(stage, step)) + "\n" for step in steps)


def tokenize(store, stages):
    """Records of what trainings read."""
    for stage in stages:
        if isinstance(stage.recipe, Tokenize):
            store.commit(stage, summary={}, made={})


def accuracy(stage):
    """Of a made-up evaluation: it rises ever less with tokens, and with the name's length."""
    _, modality, _, tokens, _ = stage.name.split("/")
    return 0.5 + 0.01 * len(modality) + math.sqrt(int(tokens)) / 1e3


def finish(store, stages, six):
    """Records of checkpoints, runs, scores and the report."""
    for stage in (stage for one in six for stage in one.stages):
        for tokens in stage.recipe.checkpoints:
            folder = store.path(stage.address) / checkpoint_part(tokens)
            folder.mkdir(parents=True)
            (folder / "model.safetensors").write_bytes(f"{stage.name} {tokens}".encode())
            summary = {"tokens": tokens}
            store.commit(stage, part=checkpoint_part(tokens), summary=summary, made={})
        lines = [json.dumps(line(stage, step)) + "\n" for step in range(1, STEPS + 1)]
        store.path(stage.address).mkdir(parents=True, exist_ok=True)
        (store.path(stage.address) / "timing.jsonl").write_text("".join(lines))
        last = {"tokens": stage.recipe.total_tokens, "steps": STEPS, "seconds_of_audio": 180.0}
        summary = {**last, "nats_per_token": 2.0, "bits_per_second": 40.0}
        store.commit(stage, summary=summary, made={"commit": "abc123"})
    for stage in stages:
        folder = store.path(stage.address)
        if isinstance(stage.recipe, Evaluate):
            folder.mkdir(parents=True)
            summary = {"metrics": {f"accuracy/{stage.name.split('/')[-1]}": accuracy(stage)}}
            store.commit(stage, summary=summary, made={})
        if isinstance(stage.recipe, Report):
            folder.mkdir(parents=True)
            (folder / "index.html").write_text("<h1>the report</h1>")
            (folder / "tables.json").write_text("{}")
            store.commit(stage, summary={}, made={})


class Server:
    """An MLflow server that can be stopped and started again."""

    def __init__(self, folder, bucket_url):
        self.port, self.folder, self.bucket_url = free_port(), folder, bucket_url
        self.uri = f"http://127.0.0.1:{self.port}"
        self._process = None

    def start(self):
        command = [
            *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1"),
            *("--port", str(self.port), "--workers", "1"),
            *("--backend-store-uri", f"sqlite:///{self.folder / 'server.db'}"),
            *("--artifacts-destination", f"s3://{BUCKET}/study"),
        ]
        own = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", **KEYS}
        own["MLFLOW_S3_ENDPOINT_URL"] = self.bucket_url
        with (self.folder / "server.log").open("a") as log:
            self._process = subprocess.Popen(
                command, env={**os.environ, **own}, stdout=log, stderr=log, start_new_session=True
            )
        for _ in range(600):
            assert self._process.poll() is None, (self.folder / "server.log").read_text()
            with contextlib.suppress(urllib.error.URLError, OSError):
                urllib.request.urlopen(f"{self.uri}/health", timeout=2).close()
                return
            time.sleep(0.2)
        pytest.fail("the MLflow server did not start in 2 minutes")

    def stop(self):
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGTERM)
            self._process.wait(timeout=30)
            self._process = None

    def get(self, path, **query):
        """An answer of the server's own interface."""
        request = urllib.request.Request(
            f"{self.uri}/api/2.0/mlflow/{path}",
            json.dumps(query).encode() if query else None,
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)


# In a process of its own: MLflow's imports warn, and pytest takes warnings for errors.
MIRROR = """
import sys
from pathlib import Path
from ray_slm import tracking
from ray_slm.scheduling.plan import plan
from ray_slm.scheduling.store import Store
from ray_slm.study import load_study

tracking.SYNC_SECONDS = tracking.LONGEST_SECONDS = 0.5
study = load_study(sys.argv[3])
with tracking.Mirror(study, plan(study), Store(Path(sys.argv[1])), sys.argv[2]):
    print("mirroring", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mlflow")
    bucket = ThreadedMotoServer(port=0)
    bucket.start()
    url = "http://{}:{}".format(*bucket.get_host_and_port())
    client = boto3.client(
        "s3",
        endpoint_url=url,
        **{k.lower(): v for k, v in KEYS.items() if "REGION" not in k},
        region_name="us-east-1",
    )
    client.create_bucket(Bucket=BUCKET)
    server = Server(folder, url)
    server.objects = lambda: [
        o["Key"] for o in client.list_objects_v2(Bucket=BUCKET).get("Contents", [])
    ]
    server.read = lambda key: client.get_object(Bucket=BUCKET, Key=key)["Body"].read().decode()
    yield server
    server.stop()
    bucket.stop()


@pytest.fixture(scope="module")
def shipped(server, study_file, stages, six, tmp_path_factory):
    """The store of a study that was mirrored while its server was away in the middle."""
    store = Store(tmp_path_factory.mktemp("root"))
    tokenize(store, stages)
    server.start()
    mirror = subprocess.Popen(
        [sys.executable, "-c", MIRROR, str(store.root), server.uri, str(study_file)],
        cwd=smoke.REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert mirror.stdout.readline() == "mirroring\n"
    for one in six:
        write_journal(store, one.trunk, range(1, 6))
    wait_for(lambda: num_points(server) > 0)
    server.stop()
    for one in six:
        write_journal(store, one.trunk, range(6, STEPS + 1))
    time.sleep(3)  # some attempts to ship go wrong
    server.start()
    finish(store, stages, six)
    _, errors = mirror.communicate()
    assert mirror.returncode == 0, errors
    assert "trying again" in errors
    assert "brings it up to date" not in errors
    return store


def wait_for(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "waited for a minute"
        time.sleep(0.3)


def runs_of(server):
    try:
        experiment = server.get("experiments/get-by-name?experiment_name=ray_slm")["experiment"]
    except urllib.error.HTTPError as error:
        if error.code != 404:
            raise
        return []
    found = server.get("runs/search", experiment_ids=[experiment["experiment_id"]])
    return found.get("runs", [])


def num_points(server):
    return sum(len(run["data"].get("metrics", [])) for run in runs_of(server))


def tags(run):
    return {tag["key"]: tag["value"] for tag in run["data"]["tags"]}


def children(server):
    return {
        tags(run)["ray_slm.modality"]: run
        for run in runs_of(server)
        if "mlflow.parentRunId" in tags(run)
    }


def history(server, run, name):
    words = f"run_id={run['info']['run_id']}&metric_key={name}"
    return server.get(f"metrics/get-history?{words}")["metrics"]


def test_every_point_is_there_once_with_its_own_time_after_an_outage(server, shipped, six):
    for one in six:
        run = children(server)[one.modality]
        for name, stages in (("loss", [one.trunk]), ("cooldown/loss", one.stages[1:])):
            found = [(p["step"], p["timestamp"], p["value"]) for p in history(server, run, name)]
            lines = [line(stage, step) for stage in stages for step in range(1, STEPS + 1)]
            expected = [
                (x["tokens"], round(x["time"] * 1000), x["loss"])
                for x in lines
                if math.isfinite(x["loss"])
            ]
            assert sorted(found) == sorted(expected)


def test_parameters_model_cards_and_addresses_of_checkpoints_land(server, shipped, six):
    keys = server.objects()
    for one in six:
        run = children(server)[one.modality]
        params = {p["key"]: p["value"] for p in run["data"]["params"]}
        assert params["scale.layers"] == str(one.trunk.recipe.scale.layers)
        assert params["total_tokens"] == str(one.stages[-1].recipe.total_tokens)
        assert params["seed"] == "0"
        assert run["info"]["status"] == "FINISHED"
        own = [key for key in keys if run["info"]["run_id"] in key]
        (card,) = [server.read(key) for key in own if key.endswith("model_card.md")]
        (listed,) = [json.loads(server.read(k)) for k in own if k.endswith("checkpoints.json")]
        counts = [count for stage in one.stages for count in stage.recipe.checkpoints]
        assert [row["tokens"] for row in listed] == counts
        assert len(counts) == 4
        for row in listed:
            assert (Path(row["location"]) / "model.safetensors").is_file()
            assert row["files"]["model.safetensors"]["sha256"] in card
            assert row["location"] in card
        assert tags(run)["ray_slm.newest_checkpoint"] == listed[-1]["location"]
        (identities,) = [json.loads(server.read(k)) for k in own if k.endswith("identity.json")]
        assert list(identities) == [stage.name for stage in one.stages]


def test_scores_stand_against_trained_tokens_and_the_report_is_there(server, shipped, stages):
    expected = {}
    for stage in stages:
        if isinstance(stage.recipe, Evaluate):
            _, modality, _, tokens, task = stage.name.split("/")
            expected.setdefault((modality, task), []).append((int(tokens), accuracy(stage)))
    for (modality, task), points in expected.items():
        found = history(server, children(server)[modality], f"accuracy/{task}")
        assert sorted((p["step"], p["value"]) for p in found) == sorted(points)
    assert [server.read(key) for key in server.objects() if key.endswith("index.html")] == [
        "<h1>the report</h1>"
    ]


def test_sending_again_changes_nothing(server, shipped, study_file, six):
    before = {m: history(server, run, "loss") for m, run in children(server).items()}
    found = smoke.call("sync", str(study_file), shipped.root, "--tracking-uri", server.uri)
    assert found.returncode == 0, found.stderr
    after = {m: history(server, run, "loss") for m, run in children(server).items()}
    assert after == before
    assert len(runs_of(server)) == len(six) + 1


def test_a_server_that_is_away_is_exit_5_and_one_line(shipped, study_file):
    uri = f"http://127.0.0.1:{free_port()}"
    found = smoke.call("sync", str(study_file), shipped.root, "--tracking-uri", uri)
    assert found.returncode == 5
    assert "nothing was lost" in found.stderr


@pytest.mark.parametrize(
    ("uri", "words"),
    [("ftp://host", "ftp://host"), ("http://me:secret@host", "MLFLOW_TRACKING_PASSWORD")],
)
def test_an_address_that_cannot_work_is_refused_and_its_password_is_not_printed(
    uri, words, tmp_path
):
    found = smoke.call("run", "smoke", tmp_path, "--tracking-uri", uri)
    assert found.returncode == 2
    assert words in found.stderr
    assert "secret" not in found.stderr + found.stdout


def browse(page, folder):
    """The page's document and its picture, after its scripts had half a minute."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        pytest.fail("chromium is not installed: run `make setup`, or apt-get install chromium")
    shot = folder / "shot.png"
    options = (
        *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
        *("--virtual-time-budget=25000", "--window-size=1600,2400", "--hide-scrollbars"),
        *(f"--user-data-dir={folder / 'profile'}", f"--screenshot={shot}", "--dump-dom"),
    )
    command = [browser, *options, page]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=180, check=True)
    return ran.stdout, image.imread(shot)[..., :3]


def six_runs(server):
    ids = [run["info"]["run_id"] for run in children(server).values()]
    experiment = next(iter(children(server).values()))["info"]["experiment_id"]
    words = {"runs": json.dumps(ids), "experiments": json.dumps([experiment])}
    return "&".join(f"{key}={value.replace(' ', '')}" for key, value in words.items())


def test_the_compare_view_shows_six_runs_side_by_side(server, shipped, tmp_path):
    document, pixels = browse(f"{server.uri}/#/compare-runs?{six_runs(server)}", tmp_path)
    text = re.sub(r"<[^>]+>", " ", document)
    assert "Comparing 6 Runs" in text
    for modality in children(server):
        assert f"{modality} seed-0" in text
    assert "accuracy/swuggy" in text
    assert "scale.layers" in text
    ink = np.abs(pixels - np.median(pixels, axis=(0, 1))).max(-1) > 0.3
    assert 0.005 < ink.mean() < 0.5


def test_the_comparison_of_a_score_is_the_scaling_figure(server, shipped, tmp_path):
    """Six curves over trained tokens, each through all checkpoints, those of branches too."""
    score = "accuracy/swuggy"
    metric = f'metric="{score}"&plot_metric_keys=["{score}"]&x_axis=step'
    document, _ = browse(f"{server.uri}/#/metric?{six_runs(server)}&{metric}", tmp_path)
    curves = re.findall(r'<path class="js-line"[^>]* d="([^"]*)"', document)
    different = set(curves)  # the page draws each a second time, for its own copy of the chart
    assert [curve.count("L") for curve in different] == [3] * 6  # from the first to the fourth
    for modality in children(server):
        assert f"{modality} seed-0 ({score})" in document
