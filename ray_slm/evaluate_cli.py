"""The verbs `evaluate` and `compare` of the command line, in a file of their own."""

import json

import typer

from ray_slm import options
from ray_slm.options import DEFAULT_ROOT, AsJson, Places, Root, StudyName, Verbs


def register(verbs: Verbs) -> None:
    """Add the verbs to the command."""
    _register_evaluate(verbs)
    _register_compare(verbs)


def _register_evaluate(verbs: Verbs) -> None:
    @verbs.app.command()
    @verbs.friendly
    def evaluate(
        checkpoints: options.Checkpoints,
        task: options.Tasks = [],  # noqa: B006 - typer copies it
        study: options.OfStudy = "laptop",
        modality: options.OneModality = None,
        root: Root = DEFAULT_ROOT,
        place: Places = [],  # noqa: B006
        backend: options.RunBackend = "ray",
        precision: options.Precision = "fp32",
        submission: options.Submission = None,
        convention: options.Convention = "mean",
        as_json: AsJson = False,
    ) -> None:
        """Score any checkpoints on any tasks, under every convention."""
        from ray_slm import evaluating, launch
        from ray_slm.stages import evaluated
        from ray_slm.study import load_study

        store, places = verbs.store_at(root), launch.places(place, verbs.cache())
        wanted = evaluating.wanted(checkpoints, task, modality, precision, backend)
        grid = evaluating.evaluate(load_study(study), wanted, store, places)
        rows = evaluated.rows(grid, store)
        print(json.dumps(rows, indent=1) if as_json else evaluated.table_text(rows))
        if submission is not None:
            for path in evaluated.write_submissions(grid, store, submission, convention):
                typer.echo(f"wrote {path}", err=True)


def _register_compare(verbs: Verbs) -> None:
    @verbs.app.command()
    @verbs.friendly
    def compare(
        study: StudyName,
        other: options.OtherStudy,
        root: Root = DEFAULT_ROOT,
        other_root: options.OtherRoot = None,
        as_json: AsJson = False,
    ) -> None:
        """Set two studies beside each other: paired where they judged the same items."""
        from ray_slm import comparing
        from ray_slm.study import load_study

        first, second = load_study(study), load_study(other)
        stores = verbs.store_at(root), verbs.store_at(other_root or root)
        found = comparing.compare((first, stores[0]), (second, stores[1]))
        text = comparing.text(found, first.name, second.name)
        print(json.dumps(found, indent=1) if as_json else text)
