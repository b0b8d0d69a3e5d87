"""The command ``ray-slm``: thin verbs over the package, with late imports so that help is quick."""

import json
import os
import sys
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Annotated

import typer

from ray_slm import errors, evaluate_cli, options, sweep_cli
from ray_slm.options import DEFAULT_ROOT, AsJson, Places, Root, StudyName

if TYPE_CHECKING:
    from ray_slm.scheduling.store import Store

app = typer.Typer(
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    help="Why are speech language models harder to train than text models? "
    "Plan, run and report a study of six modalities.",
)


def _store(root: str) -> "Store":
    from ray_slm.scheduling.store import open_store

    return open_store(root, _cache())


def _cache() -> str:
    """Where each node keeps copies of what lies in buckets: RAY_SLM_CACHE moves it."""
    from ray_slm.scheduling.store import CACHE

    return os.environ.get("RAY_SLM_CACHE", CACHE)


def _friendly(command: Callable[..., None]) -> Callable[..., None]:
    """Turn errors into one line and the exit code of their kind; --debug shows the traceback."""

    @wraps(command)
    def wrapped(*args: object, **kwargs: object) -> None:
        try:
            command(*args, **kwargs)
        except KeyboardInterrupt:
            typer.echo("interrupted; finished stages are kept, run again to go on", err=True)
            raise typer.Exit(errors.EXIT_INTERRUPTED) from None
        except (ValueError, errors.ResourceError, errors.StorageError) as error:
            if "RAY_SLM_DEBUG" in os.environ:
                raise
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(errors.exit_code(error)) from None

    return wrapped


@app.command()
@_friendly
def plan(
    study: StudyName,
    root: Root = DEFAULT_ROOT,
    as_json: AsJson = False,
    everything: options.Everything = False,
    cluster: options.ClusterFile = None,
    prices: options.Prices = None,
    gantt: options.Gantt = None,
) -> None:
    """Show the stages of a study: addresses, done/ready/waiting, tokens, FLOPs; or its price."""
    from ray_slm import terminal
    from ray_slm.scheduling.plan import plan as expand
    from ray_slm.study import load_study

    if cluster is not None:
        from ray_slm.costs.printed import show_costs

        show_costs(load_study(study), cluster, prices=prices, picture=gantt, as_json=as_json)
        return
    rows = terminal.plan_rows(expand(load_study(study)), _store(root))
    if as_json:
        print(json.dumps(rows, indent=1))
    else:
        terminal.print_rows(rows, everything=everything)


@app.command()
@_friendly
def run(
    study: StudyName,
    root: Root = DEFAULT_ROOT,
    backend: options.RunBackend = "ray",
    place: Places = [],  # noqa: B006 - typer copies it
    quiet: options.Quiet = False,
    tracking_uri: options.Tracking = None,
    until: options.Until = "report",
    rehearse: options.Rehearse = False,
) -> None:
    """Run what is missing of a study; run again to resume."""
    from ray_slm import launch

    found, places = launch.opened(study, _store(root), place, _cache(), rehearse=rehearse)
    code = launch.run_study(
        found, _store(root), backend, places, quiet=quiet, tracking_uri=tracking_uri, until=until
    )
    raise typer.Exit(code)


@app.command()
@_friendly
def sync(
    study: StudyName,
    root: Root = DEFAULT_ROOT,
    tracking_uri: options.Tracking = None,
) -> None:
    """Send to MLflow what it lacks: after an outage, or to another server."""
    from ray_slm import launch
    from ray_slm.study import load_study

    raise typer.Exit(launch.sync(load_study(study), _store(root), tracking_uri))


@app.command()
@_friendly
def submit(
    study: StudyName,
    root: Root,
    address: options.Address = "",
    place: Places = [],  # noqa: B006
    wait: options.Wait = True,
    packages: options.Packages = "lock",
    rehearse: options.Rehearse = False,
) -> None:
    """Run a study as a job of a Ray cluster; submit again to resume."""
    from ray_slm.cluster import submit as jobs

    job = jobs.submit(study, root, address, place, packages=packages, rehearse=rehearse)
    print(job, flush=True)
    raise typer.Exit(jobs.follow(job) if wait else 0)


@app.command()
@_friendly
def status(study: StudyName, root: Root = DEFAULT_ROOT, as_json: AsJson = False) -> None:
    """Show how far a study is, and how far each training run."""
    from ray_slm import inquiry
    from ray_slm.study import load_study

    found = inquiry.status(load_study(study), _store(root))
    print(json.dumps(found, indent=1) if as_json else inquiry.status_text(found))


@app.command()
@_friendly
def tokens(
    study: StudyName,
    root: Root = DEFAULT_ROOT,
    as_json: AsJson = False,
) -> None:
    """Table 2 from records: vocabulary, tokens, tokens/s, hours and quarantine of each split."""
    from ray_slm import token_table
    from ray_slm.scheduling.plan import plan as expand
    from ray_slm.study import load_study

    stages, store = expand(load_study(study)), _store(root)
    if as_json:
        print(json.dumps(token_table.as_json(stages, store), indent=1))
    else:
        print(token_table.as_text(stages, store))


@app.command()
@_friendly
def why(
    stage: Annotated[str, typer.Argument(help="A stage's name, as `plan` prints it.")],
    study: Annotated[str, typer.Option(help="The study the stage belongs to.")] = "laptop",
    root: Root = DEFAULT_ROOT,
) -> None:
    """Say which field made a stage new, against the newest result of the same name."""
    from ray_slm import inquiry
    from ray_slm.study import load_study

    print("\n".join(inquiry.why(load_study(study), stage, _store(root))))


@app.command()
@_friendly
def report(study: StudyName, root: Root = DEFAULT_ROOT) -> None:
    """Render the report from the evaluations there are; missing cells are marked, not imputed."""
    from ray_slm.stages.report import publish
    from ray_slm.study import load_study

    print(publish(load_study(study), _store(root)))


@app.command()
@_friendly
def verify(study: StudyName, root: Root = DEFAULT_ROOT) -> None:
    """Re-hash every file of a study's results and print one digest of them all."""
    from ray_slm import inquiry
    from ray_slm.study import load_study

    found = inquiry.verify(load_study(study), _store(root))
    for problem in found.problems:
        typer.echo(problem, err=True)
    print(f"{found.num_results} results, {found.num_files} files, digest {found.digest}")
    if found.problems:
        raise typer.Exit(errors.EXIT_INFRASTRUCTURE)


@app.command()
@_friendly
def ui(
    study: StudyName,
    root: Root = DEFAULT_ROOT,
    port: Annotated[int, typer.Option(help="Local port of the MLflow UI.")] = 5000,
) -> None:
    """Open the MLflow UI on the store that `run` mirrors to."""
    from ray_slm import launch
    from ray_slm.study import load_study

    launch.open_ui(load_study(study), _store(root), port)


@app.command()
@_friendly
def doctor(root: Root = DEFAULT_ROOT, place: Places = []) -> None:  # noqa: B006
    """Check versions, storage, voices, assets and packages, each with its remedy."""
    from ray_slm import launch
    from ray_slm.doctor import examine

    findings = examine(_store(root), launch.places(place, _cache()))
    for finding in findings:
        print(f"{'ok  ' if finding.ok else 'FAIL'} {finding.what}: {finding.detail}")
    if not all(finding.ok for finding in findings):
        raise typer.Exit(errors.ResourceError.exit_code)


for file in (sweep_cli, evaluate_cli):
    file.register(options.Verbs(app, _friendly, _store, _cache))


def main() -> None:
    """Entry point of the console script.  One thread per process, here as in Ray's workers."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "HF_HUB_OFFLINE"):
        os.environ.setdefault(name, "1")
    sys.exit(app())
