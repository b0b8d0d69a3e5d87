"""The verbs `evaluate` and `compare` of the command line, in a file of their own."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ray_slm import options
from ray_slm.options import DEFAULT_ROOT, AsJson, Places, Root, StudyName

if TYPE_CHECKING:
    from ray_slm.scheduling.store import Store

Command = Callable[..., None]
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
Other = Annotated[str, typer.Argument(metavar="OTHER", help="Another study's name, or file.")]
OtherRoot = Annotated[str | None, typer.Option(help="Where its results live, if elsewhere.")]


def register(
    app: typer.Typer,
    friendly: Callable[[Command], Command],
    store_at: Callable[[str], "Store"],
    cache: Callable[[], str],
) -> None:
    """Add the verbs to the command, with its way to show errors and to open a root."""
    _register_evaluate(app, friendly, store_at, cache)
    _register_compare(app, friendly, store_at)


def _register_evaluate(
    app: typer.Typer,
    friendly: Callable[[Command], Command],
    store_at: Callable[[str], "Store"],
    cache: Callable[[], str],
) -> None:
    @app.command()
    @friendly
    def evaluate(
        checkpoints: Checkpoints,
        task: Tasks = [],  # noqa: B006 - typer copies it
        study: OfStudy = "laptop",
        modality: OneModality = None,
        root: Root = DEFAULT_ROOT,
        place: Places = [],  # noqa: B006
        backend: options.RunBackend = "ray",
        precision: Precision = "fp32",
        submission: Submission = None,
        convention: Convention = "mean",
        as_json: AsJson = False,
    ) -> None:
        """Score any checkpoints on any tasks, under every convention."""
        from ray_slm import evaluating, launch
        from ray_slm.stages import evaluated
        from ray_slm.study import load_study

        store, places = store_at(root), launch.places(place, cache())
        wanted = evaluating.wanted(checkpoints, task, modality, precision, backend)
        grid = evaluating.evaluate(load_study(study), wanted, store, places)
        rows = evaluated.rows(grid, store)
        print(json.dumps(rows, indent=1) if as_json else evaluated.table_text(rows))
        if submission is not None:
            for path in evaluated.write_submissions(grid, store, submission, convention):
                typer.echo(f"wrote {path}", err=True)


def _register_compare(
    app: typer.Typer,
    friendly: Callable[[Command], Command],
    store_at: Callable[[str], "Store"],
) -> None:
    @app.command()
    @friendly
    def compare(
        study: StudyName,
        other: Other,
        root: Root = DEFAULT_ROOT,
        other_root: OtherRoot = None,
        as_json: AsJson = False,
    ) -> None:
        """Set two studies beside each other: paired where they judged the same items."""
        from ray_slm import comparing
        from ray_slm.study import load_study

        first, second = load_study(study), load_study(other)
        stores = store_at(root), store_at(other_root or root)
        found = comparing.compare((first, stores[0]), (second, stores[1]))
        text = comparing.text(found, first.name, second.name)
        print(json.dumps(found, indent=1) if as_json else text)
