"""The arguments and options that verbs of the command line share, each with its help."""

from pathlib import Path
from typing import Annotated

import typer

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
DEFAULT_ROOT = "runs"
