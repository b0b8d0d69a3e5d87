"""Dashboards and alerts name metrics that exist, and Prometheus's own tool accepts the rules."""

import ast
import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import timeseries
from grafana_foundation_sdk.models.dashboard import Dashboard

from dashboards.make import BOARDS, HERE, board_json, path_of, written
from ray_slm.cluster.metrics import METRICS
from tests.dashboards import prometheus

REPOSITORY = Path(__file__).parents[2]
OURS = {f"ray_{metric.name}": metric for metric in METRICS}
NAME = re.compile(r"\bray_[a-z0-9_]+")
SELECTOR = re.compile(r"\b(ray_slm_[a-z_]+)(?:\{([^}]*)\})?")


def names_of_ray():
    """Metrics that Ray's own dashboards draw: read from the installed package."""
    import ray.dashboard.modules.metrics.dashboards as folder

    sources = Path(folder.__path__[0]).glob("*.py")
    return {name for source in sources for name in NAME.findall(source.read_text())}


def queries():
    for board in BOARDS:
        for panel in board_json(board)["panels"]:
            for target in panel["targets"]:
                yield f"{board.title}: {panel['title']}", target["expr"]
    for group in yaml.safe_load((HERE / "alerts.yml").read_text())["groups"]:
        for rule in group["rules"]:
            yield f"alert {rule['alert']}", rule["expr"]


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
def test_the_files_are_what_make_writes(board):
    assert path_of(board).read_text() == written(board)


def lost(found, known, where="board"):
    """What of ``found`` Grafana's models did not know and left out of ``known``."""
    if isinstance(found, dict):
        for name, value in found.items():
            inside = f"{where}.{name}"
            yield from lost(value, known[name], inside) if name in known else [inside]
    elif isinstance(found, list):
        for index, (value, kept) in enumerate(zip(found, known, strict=True)):
            yield from lost(value, kept, f"{where}[{index}]")
    elif found != known:
        yield where


def as_grafana_reads(board):
    """The board through the models that Grafana generates from its own schemas."""
    plugins.register_default_plugins()
    read = Dashboard.from_json(json.loads(json.dumps(board)))
    assert all(isinstance(panel.options, timeseries.Options) for panel in read.panels)
    return json.loads(json.dumps(read, cls=JSONEncoder))


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
def test_grafanas_models_know_every_field(board):
    assert not [*lost(board_json(board), as_grafana_reads(board_json(board)))]


def test_they_would_not_know_a_misspelt_one():
    board = board_json(BOARDS[0])
    board["panels"][0]["fieldConfig"]["defaults"]["custom"]["drawStile"] = "line"
    (found,) = lost(board, as_grafana_reads(board))
    assert found == "board.panels[0].fieldConfig.defaults.custom.drawStile"


def test_every_metric_of_a_query_is_emitted_by_us_or_by_ray():
    known = OURS.keys() | names_of_ray()
    for where, query in queries():
        for name in NAME.findall(query):
            assert name in known, f"{where} names {name}"


def test_labels_in_queries_of_our_metrics_are_tags_that_they_have():
    for where, query in queries():
        for name, selector in SELECTOR.findall(query):
            for label in re.findall(r"(\w+)\s*=", selector):
                assert label in OURS[name].tags, f"{where}: {name} has no {label}"
        for labels in re.findall(r"\bby \(([^)]*)\) \(r?a?t?e?\(?ray_slm", query):
            name = SELECTOR.search(query)[1]
            for label in labels.split(","):
                assert label.strip() in OURS[name].tags, f"{where}: {name} has no {label}"


def test_legends_name_labels_that_the_query_keeps():
    for board in BOARDS:
        for panel in board_json(board)["panels"]:
            for target in panel["targets"]:
                kept = re.findall(r"\bby \(([^)]*)\)", target["expr"])
                if kept:
                    allowed = {label.strip() for label in kept[0].split(",")}
                    used = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
                    assert used <= allowed, panel["title"]


def test_every_metric_that_we_declare_is_emitted_somewhere_and_drawn_or_watched():
    package = REPOSITORY / "ray_slm" / "cluster"
    strings = {
        node.value
        for path in package.glob("*.py")
        if path.stem != "metrics"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    drawn = {name for _, query in queries() for name in NAME.findall(query)}
    for name, metric in OURS.items():
        assert metric.name in strings, f"{name} is declared and never emitted"
        assert name in drawn, f"{name} is emitted and nobody looks"


def test_counters_are_named_as_prometheus_wants():
    for metric in METRICS:
        assert (metric.kind == "counter") == metric.name.endswith("_total"), metric.name


def test_panels_lie_side_by_side_and_have_numbers_of_their_own():
    for board in BOARDS:
        panels = board_json(board)["panels"]
        assert len({panel["id"] for panel in panels}) == len(panels)
        cells = [
            (x, y)
            for at in (panel["gridPos"] for panel in panels)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        ]
        assert len(set(cells)) == len(cells)
        assert max(x for x, _ in cells) < 24
        json.dumps(panels, allow_nan=False)


@pytest.mark.parametrize(
    "words",
    [("check", "rules", "alerts.yml"), ("test", "rules", "alerts_test.yml")],
    ids=" ".join,
)
def test_promtool_accepts_the_rules_and_they_fire_when_they_should(words):
    command = [prometheus.tool("promtool"), *words]
    found = subprocess.run(command, cwd=HERE, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout + found.stderr


def test_promtool_accepts_the_scrape_configuration():
    command = [prometheus.tool("promtool"), "check", "config", "prometheus.yml"]
    found = subprocess.run(command, cwd=HERE, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout + found.stderr
