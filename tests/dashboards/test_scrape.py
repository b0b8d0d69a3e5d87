"""A real Prometheus beside a real Ray head that runs the smoke study: every query returns data."""

import contextlib
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import pytest
import yaml

from dashboards.make import BOARDS, HERE, board_json
from ray_slm.cluster import measured
from ray_slm.recipes import Train
from ray_slm.scheduling.plan import plan
from ray_slm.studies.smoke import STUDY
from tests import smoke
from tests.dashboards import prometheus

HARDWARE = re.compile(r"gpu|gram|GPU")  # a node without GPUs has no such metrics
# Nothing waits or fails in a smoke study, and nothing is spilled: what then stays away.
pytestmark = pytest.mark.cluster


@contextlib.contextmanager
def head(folder):
    """A Ray head node with its dashboard, which lists the nodes for Prometheus."""
    ports = [prometheus.free_port() for _ in range(4)]
    own = {
        "HOME": str(folder),
        "RAY_metrics_report_interval_ms": "1000",
        "RAY_ENABLE_AUTO_CONNECT": "0",
        "RAY_AUTH_MODE": "disabled",  # a local Ray of an earlier test may have asked for tokens
    }
    command = [
        *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"),
        *("--node-ip-address", "127.0.0.1", "--port", str(ports[0])),
        *("--dashboard-host", "127.0.0.1", "--dashboard-port", str(ports[1])),
        *("--dashboard-agent-listen-port", str(ports[2]), "--metrics-export-port", str(ports[3])),
        *("--num-cpus", "4", "--object-store-memory", str(256 * 2**20)),
        *("--temp-dir", str(folder / "ray"), "--disable-usage-stats"),
    ]
    with (folder / "head.log").open("w") as log:
        node = subprocess.Popen(command, env={**os.environ, **own}, stdout=log, stderr=log)
        try:
            yield {**os.environ, **own, "RAY_ADDRESS": f"127.0.0.1:{ports[0]}"}
        finally:
            node.terminate()
            node.wait(timeout=60)


def configuration(folder):
    """Ours, pointed at this head's list of nodes and scraping every second."""
    found = yaml.safe_load((HERE / "prometheus.yml").read_text())
    found["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    found["rule_files"] = [str(HERE / "alerts.yml")]
    (job,) = found["scrape_configs"]
    (source,) = job["file_sd_configs"]
    source["files"] = [str(folder / "ray" / "prom_metrics_service_discovery.json")]
    source["refresh_interval"] = "1s"
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(found))
    return path


@pytest.fixture(scope="module")
def server(places):
    """Prometheus after a smoke study that it watched."""
    with tempfile.TemporaryDirectory(prefix="rs") as short:  # Ray makes sockets below it
        yield from watched(Path(short))


def watched(folder):
    with head(folder) as environment:
        wait_for((folder / "ray" / "prom_metrics_service_discovery.json").exists)
        with prometheus.scraping(configuration(folder), folder / "data") as address:
            found = subprocess.run(
                smoke.command("run", "smoke", folder / "root", "--quiet"),
                env=environment,
                cwd=smoke.REPOSITORY,
                capture_output=True,
                text=True,
                timeout=900,
            )
            assert found.returncode == 0, found.stderr
            time.sleep(5)
            yield address


def wait_for(condition):
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, "waited for two minutes"
        time.sleep(0.5)


def panels():
    for board in BOARDS:
        for panel in board_json(board)["panels"]:
            for target in panel["targets"]:
                name = f"{board.uid}: {panel['title']}: {target['expr']}"
                yield pytest.param(target["expr"], id=name)


@pytest.mark.parametrize("query", [*panels()])
def test_a_panel_shows_data(server, query):
    if HARDWARE.search(query):
        assert prometheus.ask(server, prometheus.plain(query)) == {}  # valid, and nothing here
        return
    series = prometheus.ask(server, prometheus.plain(query))
    assert series
    assert any(value == value for values in series.values() for value in values)


def test_every_rule_is_evaluated_and_none_cries_wolf(server):
    for group in yaml.safe_load((HERE / "alerts.yml").read_text())["groups"]:
        for rule in group["rules"]:
            prometheus.ask(server, rule["expr"])
    firing = prometheus.ask(server, 'ALERTS{alertstate="firing"}')
    assert not [labels for labels in firing if "Disk" not in str(labels)]


def test_what_is_counted_is_what_was_done(server):
    ended = prometheus.ask(server, 'sum by (kind) (ray_slm_stages_ended_total{outcome="done"})')
    counts = Counter(measured.kind_of(stage) for stage in plan(STUDY))
    assert {dict(k)["kind"]: max(v) for k, v in ended.items()} == counts
    trained = prometheus.ask(server, "sum by (modality) (ray_slm_train_tokens_total)")
    budgets = {s.name.split("/")[1]: s.tokens for s in plan(STUDY) if isinstance(s.recipe, Train)}
    assert trained.keys() == {(("modality", name),) for name in budgets}
    for labels, values in trained.items():
        assert max(values) >= budgets[dict(labels)["modality"]]
