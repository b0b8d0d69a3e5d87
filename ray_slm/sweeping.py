"""The verb `sweep`: tokens first, then trials of learning rates, then their table."""

import dataclasses
import json
from collections.abc import Sequence

from ray_slm import launch, sweep, terminal
from ray_slm.scheduling import lease, runner
from ray_slm.scheduling.places import Places
from ray_slm.scheduling.store import Store
from ray_slm.study import Study


def sweep_study(
    study: Study,
    grid: sweep.Grid,
    store: Store,
    places: Places,
    tracking_uri: str | None = None,
) -> list[sweep.Trial]:
    """Make the tokens, try the grid, and publish what was found: beside the study, and on its page.

    Raises:
        ValueError: for a grid that cannot be tried, or tokens that could not be made.
    """
    from ray_slm.cluster.session import ray_backend
    from ray_slm.stages.report import publish
    from ray_slm.stages.site import Site
    from ray_slm.tracking import Mirror

    trials, tokens = sweep.trials(study, grid), sweep.token_stages(study, grid)
    store.root.mkdir(parents=True, exist_ok=True)
    with lease.held(store.lease_entries, store.location) as held:
        store = dataclasses.replace(store, fence=held.number)
        site = Site(store, places)
        with Mirror(sweep.named(study), trials, store, tracking_uri) as mirror:
            with ray_backend(site, [*tokens, *trials]) as backend:
                outcome = runner.run(tokens, store, backend, terminal.ProgressReport(store))
                for name, error in outcome.failed.items():
                    raise ValueError(f"{name}: {launch.first_line(error)}") from error
                from ray_slm.cluster.sweep import sweep as run_trials  # reads the session's setup

                found = run_trials(trials, site, 1 / sweep.VALIDATIONS)
            sweep.publish(study, grid, found, store)
            mirror.conclude(store.root / sweep.folder(study.name))
        publish(study, store)
    return found


def show_sweep(study: Study, found: Sequence[sweep.Trial], *, as_json: bool) -> None:
    """Print the table, or the same as JSON."""
    rate = study.optimizer.peak_lr
    if as_json:
        rows = [dataclasses.asdict(trial) for trial in found]
        print(json.dumps({"trials": rows, "verdicts": sweep.verdicts(found, rate)}, indent=1))
    else:
        print(sweep.text(found, rate))
