"""Join study, plan, store and backend: what the command line and the jobs both call."""

import dataclasses
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ray_slm import errors, sweep, terminal
from ray_slm.rehearsal import open_kit
from ray_slm.scheduling import lease, runner
from ray_slm.scheduling.objects import SCHEME, parse
from ray_slm.scheduling.places import Places
from ray_slm.scheduling.plan import plan, up_to
from ray_slm.scheduling.stage import Stage
from ray_slm.scheduling.store import CACHE, Store
from ray_slm.study import Study, load_rehearsal, load_study


def places(pairs: Sequence[str], cache: str = CACHE) -> Places:
    """Locations of external data from ``NAME=PATH`` options; "assets" has a default."""
    found = {"assets": str(default_assets())}
    for pair in pairs:
        name, separator, path = pair.partition("=")
        if path.startswith(SCHEME):
            found[name] = parse(path).url
        elif separator and Path(path).exists():
            found[name] = str(Path(path).resolve())
        else:
            raise ValueError(
                f"--place {pair!r}: expected NAME=PATH with a path that exists, or NAME=s3://..."
            )
    return Places(found, Path(cache).expanduser().resolve())


class Opened(NamedTuple):
    """A study, and where its external data lies."""

    study: Study
    places: Places


def opened(
    name: str, store: Store, pairs: Sequence[str], cache: str = CACHE, *, rehearse: bool = False
) -> Opened:
    """The study of that name; to rehearse, scaled down to stand-ins that are made in the root."""
    found = places(pairs, cache)
    if not rehearse:
        return Opened(load_study(name), found)
    folder = store.root / "rehearsal"
    kit = open_kit(folder, found)
    where = store.send_copy(folder)  # of a bucket, other nodes read the copy
    more = [f"{p}={where}/{path.relative_to(folder).as_posix()}" for p, path in kit.places.items()]
    return Opened(load_rehearsal(name, kit), places([*pairs, *more], cache))


def default_assets() -> Path:
    """The folder that setup fills: here, beside the package, or, on a node, where it has copies."""
    beside = Path(__file__).resolve().parents[1] / ".assets"
    places = (Path.cwd() / ".assets", beside, Path(CACHE).expanduser() / "assets")
    return next((folder for folder in places if folder.is_dir()), beside)


def run_study(
    study: Study,
    store: Store,
    backend: str,
    places: Mapping[str, Path],
    *,
    quiet: bool = False,
    tracking_uri: str | None = None,
    until: str = "report",
) -> int:
    """Run what is missing and return the exit code.  One driver at a time per root.

    ``until`` names the last verb of `scheduling.plan.VERBS` to do.
    ``tracking_uri`` is of an MLflow server; without one, MLflow's file in the root is used.
    """
    from ray_slm.tracking import Mirror

    if backend not in ("ray", "local"):
        raise ValueError(f"--backend {backend!r}: use ray or local")
    stages = up_to(plan(study), until)
    whole = store.present(stage.address for stage in stages)
    if len(whole) == len(stages):
        print(f"{study.name}: all {len(stages)} stages are done, nothing to do")
        return 0
    store.root.mkdir(parents=True, exist_ok=True)
    with lease.held(store.lease_entries, store.location) as held:
        store = dataclasses.replace(store, fence=held.number)
        with Mirror(study, stages, store, tracking_uri):
            outcome = drive(study, stages, store, backend, places, held, quiet=quiet)
        return _conclude(study, outcome, store)


def drive(
    study: Study,
    stages: Sequence[Stage],
    store: Store,
    backend: str,
    places: Mapping[str, Path],
    held: lease.Lease,
    *,
    quiet: bool,
) -> runner.Outcome:
    """Run stages under a lease on the backend of that name."""
    from ray_slm.stages.site import Site

    site = Site(store, places)
    show = terminal.ProgressReport(store, quiet=quiet)

    def watch(progress: runner.Progress) -> None:
        held.check()
        show(progress)

    if backend == "local":
        from ray_slm.stages.local import LocalBackend

        return runner.run(stages, store, LocalBackend(site), watch)
    from ray_slm.cluster.session import processors, ray_backend

    with ray_backend(site, stages) as on_ray:
        outcome = runner.run(stages, store, on_ray, watch)
        _tell_efficiency(outcome.made, store, processors(gpus=study.train_gpus > 0))
    return outcome


def _tell_efficiency(made: Sequence[Stage], store: Store, capacity: float) -> None:
    """One line about how well the training runs of this driver filled the cluster."""
    from ray_slm.stages.efficiency import efficiency, line

    found = efficiency(made, store, capacity)
    if found is not None:
        print(line(found))


def _conclude(study: Study, outcome: runner.Outcome, store: Store) -> int:
    for name, error in outcome.failed.items():
        print(f"failed: {name}: {first_line(error)}", file=sys.stderr)
    if outcome.waiting:
        print(f"{len(outcome.waiting)} stages wait for what failed", file=sys.stderr)
    if outcome.failed:
        print("mend the cause and run the same command again", file=sys.stderr)
        return max(errors.exit_code(error) for error in outcome.failed.values())
    from ray_slm.stages.report import publish

    page = publish(study, store)
    where = f"{store.location}/{page.relative_to(store.root).as_posix()}"
    print(f"{study.name}: {len(outcome.made)} stages made; the report is at {where}")
    return 0


def first_line(error: BaseException) -> str:
    """The cause of an error in one line; a worker's own message, not the cluster's wrapping."""
    for name in ("cause", "controller_failure"):  # of a task, of Ray Train
        cause = getattr(error, name, None)
        if isinstance(cause, BaseException):
            return first_line(cause)
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"


def sync(study: Study, store: Store, tracking_uri: str | None) -> int:
    """Bring the MLflow mirror up to date with the records and sweeps there are; the exit code."""
    from ray_slm.tracking import Mirror

    mirrors = [Mirror(study, plan(study), store, tracking_uri)]
    for grid in sweep.grids(study.name, store):
        trials = sweep.trials(study, grid)
        mirrors.append(Mirror(sweep.named(study), trials, store, tracking_uri))
        mirrors[-1].conclude(store.root / sweep.folder(study.name))
    done = all(mirror.sync("nothing was lost; try again later") for mirror in mirrors)
    return 0 if done else errors.EXIT_INFRASTRUCTURE


def open_ui(study: Study, store: Store, port: int) -> None:
    """Serve the MLflow UI on the study's store until interrupted."""
    database = store.root / "mlflow.db"
    if not database.exists():
        raise ValueError(f"{database} does not exist: `ray-slm run {study.name}` makes it")
    print(f"MLflow on http://127.0.0.1:{port} (experiment ray_slm); Ctrl-C ends it")
    uri = f"sqlite:///{database}"
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", uri]
    subprocess.run([*command, "--host", "127.0.0.1", "--port", str(port)], check=False)
