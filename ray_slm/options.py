"""The arguments and options of the command line's verbs, each with its help.

Verbs stand in several files; each file adds its own to the command by what ``Verbs`` holds.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

if TYPE_CHECKING:
    from ray_slm.scheduling.store import Store


class Verbs(NamedTuple):
    """The command to add verbs to, its way to show errors, to open a root, and its cache."""

    app: typer.Typer
    friendly: Callable[[Callable[..., None]], Callable[..., None]]
    store_at: "Callable[[str], Store]"
    cache: Callable[[], str]


StudyName = Annotated[str, typer.Argument(metavar="STUDY", help="A study's name, or a .py file.")]
Root = Annotated[
    str,
    typer.Option(help="Where results live: a folder that workers reach, or s3://bucket/prefix."),
]
Places = Annotated[list[str], typer.Option("--place", help="NAME=PATH of external data.")]
Tracking = Annotated[
    str | None,
    typer.Option(
        envvar="MLFLOW_TRACKING_URI", help="An MLflow server, http://...; else a file in the root."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Everything = Annotated[bool, typer.Option("--all", help="List evaluations one by one.")]
ClusterFile = Annotated[
    Path | None, typer.Option(help="A file for `ray up`: price the study on it.")
]
Prices = Annotated[
    Path | None, typer.Option(help="Your prices, a copy of ray_slm/costs/prices.toml.")
]
Gantt = Annotated[Path | None, typer.Option(help="Draw the schedule in this SVG.")]
RunBackend = Annotated[str, typer.Option(help="ray, or local for one process.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress lines.")]
Rehearse = Annotated[
    bool, typer.Option("--rehearse", help="On small stand-ins, to see that everything runs.")
]
Until = Annotated[str, typer.Option(help="Stop after tokenize, train, evaluate or report.")]
Address = Annotated[
    str,
    typer.Option(help="Ray's job server.  [default: http://127.0.0.1:8265]"),
]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Print the job's log to its end.")]
Packages = Annotated[
    str, typer.Option(help="lock: install what a node lacks; nodes: take them as they are.")
]
Rates = Annotated[
    list[float], typer.Option("--lr", help="A peak learning rate to try; give two or more.")
]
SweptModalities = Annotated[
    list[str], typer.Option("--modality", help="Only this one; may be given again.")
]
SweptHours = Annotated[
    float | None, typer.Option("--hours", help="Audio per trial; else a quarter of the study's.")
]
Checkpoints = Annotated[
    list[str],
    typer.Argument(
        metavar="CHECKPOINT...",
        help="MODALITY/seed-N of the study, one of its checkpoints, or a Hugging Face folder.",
    ),
]
Tasks = Annotated[
    list[str], typer.Option("--task", help="One of its tasks or a benchmark; may be given again.")
]
OfStudy = Annotated[str, typer.Option("--study", help="Whose checkpoints, tasks and voices.")]
OneModality = Annotated[
    str | None, typer.Option("--modality", help="What a model made elsewhere reads, if not text.")
]
Precision = Annotated[str, typer.Option(help="fp32 or bf16.")]
Submission = Annotated[
    Path | None, typer.Option(help="Write files in the published benchmarks' format here.")
]
Convention = Annotated[str, typer.Option(help="Which score the submission holds.")]
OtherStudy = Annotated[str, typer.Argument(metavar="OTHER", help="Another study's name, or file.")]
OtherRoot = Annotated[str | None, typer.Option(help="Where its results live, if elsewhere.")]
DEFAULT_ROOT = "runs"
