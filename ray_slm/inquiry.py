"""Questions about a study that start nothing: how far it is, why a stage is new, is it whole."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from ray_slm import terminal
from ray_slm.scheduling import identity
from ray_slm.scheduling.exchange import VOLATILE
from ray_slm.scheduling.plan import plan
from ray_slm.scheduling.stage import Stage
from ray_slm.scheduling.store import SCRATCH, Store
from ray_slm.study import Study


class Verified(NamedTuple):
    """What `verify` found."""

    problems: tuple[str, ...]
    num_results: int
    num_files: int
    digest: str


def status(study: Study, store: Store) -> dict:
    """States by kind, and how far each training run is; JSON-ready."""
    stages = plan(study)
    whole = store.present(terminal.addresses_of(stages))
    kinds: dict[str, dict[str, int]] = {}
    runs = []
    for stage in stages:
        state = terminal.state_of(stage, whole)
        counts = kinds.setdefault(
            type(stage.recipe).__name__, {"done": 0, "ready": 0, "waiting": 0}
        )
        counts[state] += 1
        if stage.name.startswith(("train/", "cooldown/")):
            tokens = stage.tokens if state == "done" else _tokens_so_far(stage, store)
            runs.append({"run": stage.name, "state": state, "tokens": tokens, "of": stage.tokens})
    return {"study": study.name, "root": store.location, "kinds": kinds, "runs": runs}


def _tokens_so_far(stage: Stage, store: Store) -> int:
    folder = store.gather(stage.address, f"{SCRATCH}/", "journal-")
    last = terminal.last_step(folder / SCRATCH) or {}
    return int(last.get("tokens", 0))


def status_text(found: Mapping) -> str:
    """`status` for people."""
    lines = [f"study {found['study']} in {found['root']}"]
    for kind, counts in found["kinds"].items():
        states = ", ".join(f"{n} {state}" for state, n in counts.items() if n)
        lines.append(f"  {kind:<14}{states}")
    for run in found["runs"]:
        share = 100 * run["tokens"] / run["of"]
        lines.append(f"  {run['run']:<34}{run['state']:<9}{share:5.1f} % of {run['of']:,} tokens")
    return "\n".join(lines)


def why(study: Study, name: str, store: Store) -> list[str]:
    """Which fields differ from the newest other result under this stage's name."""
    stages = {stage.name: stage for stage in plan(study)}
    if name not in stages:
        near = [known for known in stages if name in known][:5]
        raise ValueError(f"{study.name} has no stage {name!r}; near: {', '.join(near) or 'none'}")
    stage = stages[name]
    others = [r for r in store.versions(name) if r["fingerprint"] != stage.fingerprint]
    whole = store.present(terminal.addresses_of([stage]))
    lines = [f"{stage.address}: {terminal.state_of(stage, whole)}"]
    if not others:
        return [*lines, "no other result has this name: it is new because it never ran"]
    lines.append(f"against {others[0]['address']}:")
    changed = identity.differences(others[0]["identity"], stage.identity)
    return lines + [f"  {line}" for line in changed]


def verify(study: Study, store: Store) -> Verified:
    """Re-hash every file of every result there is.

    The digest leaves out what tells when and by which commit a result was made.
    """
    problems: list[str] = []
    entries: list[str] = []
    addresses = sorted(store.present(terminal.addresses_of(plan(study))))
    for address in addresses:
        problems += store.verify(address)
        files = store.record(address)["files"]
        entries += [
            f"{address}/{name} {file['sha256']}"
            for name, file in files.items()
            if not Path(name).name.startswith(VOLATILE)
        ]
    total = hashlib.sha256("\n".join(sorted(entries)).encode()).hexdigest()
    return Verified(tuple(problems), len(addresses), len(entries), total)
