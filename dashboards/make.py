"""Write the Grafana dashboards: `python dashboards/make.py` after a change of a panel here.

Panels are a title, a unit, and queries with their legends.  A dashboard is a list of rows of them;
the JSON files beside this one are what Grafana imports, and a test compares them with this.
"""

import json
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
COLUMNS, ROW_HEIGHT = 24, 8
STUDY = 'study=~"$study"'
RUN = 'modality=~"$modality"'


class Panel(NamedTuple):
    """A graph.  ``queries`` are (PromQL, legend); ``about`` is its tooltip."""

    title: str
    unit: str
    queries: tuple[tuple[str, str], ...]
    about: str = ""
    stacked: bool = False


class Board(NamedTuple):
    """A dashboard: rows of panels, and the labels that one can choose values of."""

    uid: str
    title: str
    rows: tuple[tuple[Panel, ...], ...]
    variables: tuple[tuple[str, str], ...] = ()  # (label, a metric that has it)


_STUDY = ("study", "ray_slm_stages")
_MODALITY = ("modality", "ray_slm_train_tokens")
_RUN_LEGEND = "{{modality}} seed {{seed}}"

STUDY_BOARD = Board(
    "ray-slm-study",
    "ray_slm: study",
    (
        (
            Panel(
                "Stages done",
                "percentunit",
                (
                    (
                        f'sum by (kind) (ray_slm_stages{{state="done", {STUDY}}}) '
                        f'/ sum by (kind) (ray_slm_stages{{state="planned", {STUDY}}})',
                        "{{kind}}",
                    ),
                ),
                "Of the plan, by kind of stage",
            ),
            Panel(
                "Stages running",
                "short",
                ((f'sum by (kind) (ray_slm_stages{{state="running", {STUDY}}})', "{{kind}}"),),
                stacked=True,
            ),
            Panel(
                "Stages failed",
                "short",
                ((f'sum by (kind) (ray_slm_stages{{state="failed", {STUDY}}})', "{{kind}}"),),
                "A failed stage leaves its siblings running; what reads it waits",
            ),
        ),
        (
            Panel(
                "Training, share of the budget",
                "percentunit",
                (
                    (
                        "ray_slm_train_tokens / ray_slm_train_budget_tokens",
                        _RUN_LEGEND,
                    ),
                ),
            ),
            Panel(
                "Mean seconds of a stage",
                "s",
                (
                    (
                        f"sum by (kind) (ray_slm_stage_seconds_total{{{STUDY}}}) "
                        f"/ sum by (kind) (ray_slm_stages_ended_total{{{STUDY}}})",
                        "{{kind}}",
                    ),
                ),
            ),
            Panel(
                "Seconds of an evaluation",
                "s",
                (
                    (
                        "sum by (modality) (ray_slm_evaluate_seconds_total) "
                        "/ sum by (modality) (ray_slm_evaluations_total)",
                        "{{modality}}",
                    ),
                ),
                "Scores of one task at one checkpoint, every layer",
            ),
        ),
    ),
    (_STUDY,),
)
TRAINING_BOARD = Board(
    "ray-slm-training",
    "ray_slm: training",
    (
        (
            Panel("Loss", "none", ((f"ray_slm_train_loss{{{RUN}}}", _RUN_LEGEND),), "Nats a token"),
            Panel(
                "Held-out loss",
                "none",
                ((f"ray_slm_train_held_out_loss{{{RUN}}}", _RUN_LEGEND),),
                "Nats a token; modalities differ in what a token is, so compare within one",
            ),
            Panel(
                "Tokens a second",
                "short",
                (
                    (
                        "sum by (modality, seed) "
                        f"(rate(ray_slm_train_tokens_total{{{RUN}}}[$__rate_interval]))",
                        _RUN_LEGEND,
                    ),
                ),
                "Real tokens, padding left out",
            ),
        ),
        (
            Panel(
                "FLOP/s",
                "flops",
                (
                    (
                        "sum by (modality, seed) "
                        f"(rate(ray_slm_train_flops_total{{{RUN}}}[$__rate_interval]))",
                        _RUN_LEGEND,
                    ),
                ),
                "Of real tokens, all workers of a run: divide by their peak for the MFU",
            ),
            Panel(
                "Waiting for data",
                "percentunit",
                (
                    (
                        f"sum by (modality, seed) (ray_slm_train_data_seconds_total{{{RUN}}}) "
                        f"/ sum by (modality, seed) (ray_slm_train_seconds_total{{{RUN}}})",
                        _RUN_LEGEND,
                    ),
                ),
                "Share of step time since the beginning",
            ),
            Panel("Gradient norm", "none", ((f"ray_slm_train_grad_norm{{{RUN}}}", _RUN_LEGEND),)),
        ),
        (
            Panel(
                "Learning rate", "sci", ((f"ray_slm_train_learning_rate{{{RUN}}}", _RUN_LEGEND),)
            ),
            Panel(
                "Attempts",
                "short",
                ((f"ray_slm_train_starts_total{{{RUN}}}", _RUN_LEGEND),),
                "More than one: a worker or node was lost and the run resumed",
            ),
            Panel(
                "Seconds a step",
                "s",
                (
                    (
                        f"sum by (modality, seed) (ray_slm_train_seconds_total{{{RUN}}}) "
                        f"/ sum by (modality, seed) (ray_slm_train_steps_total{{{RUN}}})",
                        _RUN_LEGEND,
                    ),
                ),
            ),
        ),
    ),
    (_MODALITY,),
)
TOKENIZING_BOARD = Board(
    "ray-slm-tokenizing",
    "ray_slm: tokenizing",
    (
        (
            Panel(
                "Hours of audio an hour",
                "short",
                (
                    (
                        "sum by (modality) "
                        "(rate(ray_slm_tokenize_audio_seconds_total[$__rate_interval]))",
                        "{{modality}}",
                    ),
                ),
                "Text and phones count the audio that they stand for",
            ),
            Panel(
                "Hours of audio done",
                "h",
                (
                    (
                        "sum by (modality, source) (ray_slm_tokenize_audio_seconds_total) / 3600",
                        "{{modality}} of {{source}}",
                    ),
                ),
            ),
            Panel(
                "Shards done",
                "short",
                (
                    (
                        "sum by (modality, source) (ray_slm_tokenize_shards_total)",
                        "{{modality}} of {{source}}",
                    ),
                ),
            ),
        ),
        (
            Panel(
                "Workers at work",
                "short",
                (
                    (
                        "sum by (modality) "
                        "(rate(ray_slm_tokenize_seconds_total[$__rate_interval]))",
                        "{{modality}}",
                    ),
                ),
                "Seconds of work a second",
                stacked=True,
            ),
            Panel(
                "Times faster than speech, one worker",
                "short",
                (
                    (
                        "sum by (modality) (ray_slm_tokenize_audio_seconds_total) "
                        "/ sum by (modality) (ray_slm_tokenize_seconds_total)",
                        "{{modality}}",
                    ),
                ),
            ),
            Panel(
                "Object store",
                "bytes",
                (("sum by (Location) (ray_object_store_memory)", "{{Location}}"),),
                "Shards travel as numbers: this stays flat",
            ),
        ),
    ),
)
CLUSTER_BOARD = Board(
    "ray-slm-cluster",
    "ray_slm: cluster",
    (
        (
            Panel(
                "Nodes",
                "short",
                (("count(ray_node_mem_total)", "nodes"),),
                "Groups grow with what waits and shrink when idle",
            ),
            Panel(
                "Logical CPUs",
                "short",
                (('sum by (State) (ray_resources{Name="CPU"})', "{{State}}"),),
                stacked=True,
            ),
            Panel(
                "GPUs",
                "short",
                (('sum by (State) (ray_resources{Name="GPU"})', "{{State}}"),),
                stacked=True,
            ),
        ),
        (
            Panel("Processors", "percent", (("ray_node_cpu_utilization", "{{instance}}"),)),
            Panel(
                "Memory",
                "percentunit",
                (("ray_node_mem_used / ray_node_mem_total", "{{instance}}"),),
            ),
            Panel(
                "Disk",
                "percentunit",
                (
                    (
                        "ray_node_disk_usage / (ray_node_disk_usage + ray_node_disk_free)",
                        "{{instance}}",
                    ),
                ),
            ),
        ),
        (
            Panel(
                "GPU utilization",
                "percent",
                (("ray_node_gpus_utilization", "{{instance}} {{GpuIndex}}"),),
            ),
            Panel(
                "GPU memory",
                "percentunit",
                (
                    (
                        "ray_node_gram_used / (ray_node_gram_used + ray_node_gram_available)",
                        "{{instance}} {{GpuIndex}}",
                    ),
                ),
            ),
            Panel(
                "Tasks and actors",
                "short",
                (
                    ("sum by (State) (ray_tasks)", "tasks {{State}}"),
                    ("sum by (State) (ray_actors)", "actors {{State}}"),
                ),
            ),
        ),
        (
            Panel("Network in", "Bps", (("ray_node_network_receive_speed", "{{instance}}"),)),
            Panel("Network out", "Bps", (("ray_node_network_send_speed", "{{instance}}"),)),
            Panel(
                "Memory by component",
                "bytes",
                (("sum by (Component) (ray_component_rss_bytes)", "{{Component}}"),),
                stacked=True,
            ),
        ),
    ),
)
BOARDS = (STUDY_BOARD, TRAINING_BOARD, TOKENIZING_BOARD, CLUSTER_BOARD)
SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def board_json(board: Board) -> dict:
    """What Grafana imports (schema 39, Grafana 11; older ones from 9 read it too)."""
    panels = []
    for row, line in enumerate(board.rows):
        width = COLUMNS // len(line)
        for column, panel in enumerate(line):
            at = {"x": column * width, "y": row * ROW_HEIGHT, "w": width, "h": ROW_HEIGHT}
            panels.append(_panel_json(panel, len(panels) + 1, at))
    return {
        "uid": board.uid,
        "title": board.title,
        "tags": ["ray_slm"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [_source_variable(), *map(_variable, board.variables)]},
        "panels": panels,
    }


def _panel_json(panel: Panel, number: int, at: dict) -> dict:
    stacking = {"mode": "normal" if panel.stacked else "none", "group": "A"}
    custom = {"drawStyle": "line", "fillOpacity": 10, "stacking": stacking, "showPoints": "auto"}
    targets = [
        {"datasource": SOURCE, "expr": query, "legendFormat": legend, "refId": chr(65 + index)}
        for index, (query, legend) in enumerate(panel.queries)
    ]
    return {
        "id": number,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.about,
        "datasource": SOURCE,
        "gridPos": at,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0, "custom": custom}},
        "options": {"legend": {"displayMode": "list", "placement": "bottom", "showLegend": True}},
        "targets": targets,
    }


def _source_variable() -> dict:
    return {
        "name": "datasource",
        "label": "Prometheus",
        "type": "datasource",
        "query": "prometheus",
    }


def _variable(variable: tuple[str, str]) -> dict:
    label, metric = variable
    return {
        "name": label,
        "type": "query",
        "datasource": SOURCE,
        "query": f"label_values({metric}, {label})",
        "includeAll": True,
        "multi": True,
        "refresh": 2,
        "current": {"text": "All", "value": "$__all"},
    }


def written(board: Board) -> str:
    """The text of the board's file."""
    return json.dumps(board_json(board), indent=1) + "\n"


def path_of(board: Board) -> Path:
    """Where the board's file lies."""
    return HERE / f"{board.uid.removeprefix('ray-slm-')}.json"


if __name__ == "__main__":
    for each in BOARDS:
        path_of(each).write_text(written(each))
