"""Learning-rate sweeps, so that a gap between modalities is not one learning rate's artifact.

A sweep is a set of short training runs on a study's own tokens; here are its stages, its table and
what the table says.  Trials are compared within a modality alone.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ray_slm.recipes import Train
from ray_slm.scheduling.plan import plan, up_to
from ray_slm.scheduling.stage import Stage
from ray_slm.scheduling.store import Store, write_atomically
from ray_slm.study import Study

VALIDATIONS = 9  # per trial: rungs of thirds lie at a ninth, a third and the whole of the budget


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trial:
    """How one learning rate did: held-out loss after ``tokens`` of ``of_tokens``.

    A trial that diverged has no loss.
    """

    modality: str
    peak_lr: float
    tokens: int
    of_tokens: int
    nats_per_token: float | None
    bits_per_second: float | None
    address: str

    @property
    def stopped(self) -> bool:
        """Whether the scheduler ended it early."""
        return self.nats_per_token is not None and self.tokens < self.of_tokens


@dataclasses.dataclass(frozen=True, kw_only=True)
class Grid:
    """What to try: peak rates on modalities (none: all), each for ``hours`` of audio.

    Without ``hours`` a trial hears a quarter of what the study trains on.
    """

    rates: tuple[float, ...]
    modalities: tuple[str, ...] = ()
    hours: float | None = None


def token_stages(study: Study, grid: Grid) -> list[Stage]:
    """What a sweep reads: the corpus and its tokens in the grid's modalities."""
    chosen = grid.modalities or [modality.name for modality in study.modalities]
    trains = [stage for stage in _trainings(study) if stage.name.split("/")[1] in chosen]
    needed: set[str] = set()
    for stage in trains:
        _require(stage, needed)
    return [stage for stage in up_to(plan(study), "tokenize") if stage.address in needed]


def trials(study: Study, grid: Grid) -> list[Stage]:
    """One training stage for each modality and peak rate, the longest modality's first.

    Raises:
        ValueError: for an unknown modality, no or doubled rates, or hours that are no budget.
    """
    known = [modality.name for modality in study.modalities]
    rates, unknown = grid.rates, sorted(set(grid.modalities) - set(known))
    hours = study.checkpoint_hours[-1] / 4 if grid.hours is None else grid.hours
    if unknown:
        raise ValueError(f"--modality {unknown[0]!r}: {study.name} has {', '.join(known)}")
    if len(set(rates)) != len(rates) or len(rates) < 2 or min(rates) <= 0:
        raise ValueError(f"--lr {list(rates)}: give two or more different rates above 0")
    if hours <= 0:
        raise ValueError(f"--hours {hours}: a trial needs a budget above 0")
    found = []
    for stage in _trainings(_shortened(study, hours)):
        _, modality, _ = stage.name.split("/")
        recipe = stage.recipe
        assert isinstance(recipe, Train)
        for rate in rates if modality in (grid.modalities or known) else ():
            optimizer = replace(recipe.optimizer, peak_lr=rate)
            of_rate = replace(recipe, optimizer=optimizer)
            found.append(replace(stage, name=f"sweep/{modality}/lr-{rate:g}", recipe=of_rate))
    return sorted(found, key=lambda stage: -stage.demand.priority)


def _shortened(study: Study, hours: float) -> Study:
    """The study with one budget, one checkpoint and one seed; trunks become whole runs."""
    schedule = study.optimizer.schedule
    whole = "wsd" if schedule == "wsd-branches" else schedule
    return replace(
        study,
        optimizer=replace(study.optimizer, schedule=whole),
        checkpoint_hours=(hours,),
        seeds=study.seeds[:1],
        ending=replace(study.ending, epochs=None, patience=None, validate_fraction=1 / VALIDATIONS),
    )


def _trainings(study: Study) -> list[Stage]:
    stages = [stage for stage in plan(study) if isinstance(stage.recipe, Train)]
    first = f"/seed-{study.seeds[0]}"
    return [stage for stage in stages if stage.name.endswith(first)]


def _require(stage: Stage, needed: set[str]) -> None:
    for artifact in stage.inputs.values():
        needed.add(artifact.stage.address)
        _require(artifact.stage, needed)


def is_validation(line: Mapping[str, object]) -> bool:
    """Whether a line of a run's journal tells the held-out loss."""
    return "nats_per_token" in line


def verdicts(found: Sequence[Trial], study_rate: float) -> list[dict]:
    """Per modality: the best rate, whether it lies at the grid's edge, and what the study's costs.

    ``loss_of_study_rate`` is in nats per token above the best; None when the study's own rate was
    not tried to the end.  A modality whose trials all diverged has no best rate and no verdict.
    """
    rows = []
    for modality in dict.fromkeys(trial.modality for trial in found):
        own = [trial for trial in found if trial.modality == modality]
        ended = {t: t.nats_per_token for t in own if t.nats_per_token is not None and not t.stopped}
        if not ended:
            continue
        best, rates = min(ended, key=ended.__getitem__), sorted(trial.peak_lr for trial in own)
        same = [nats for trial, nats in ended.items() if trial.peak_lr == study_rate]
        rows.append(
            {
                "modality": modality,
                "best_lr": best.peak_lr,
                "nats_per_token": ended[best],
                "bits_per_second": best.bits_per_second,
                "at_the_edge": best.peak_lr in (rates[0], rates[-1]),
                "study_lr": study_rate,
                "loss_of_study_rate": same[0] - ended[best] if same else None,
            }
        )
    return rows


def named(study: Study) -> Study:
    """The study under the name that its sweeps have in MLflow."""
    return replace(study, name=f"{study.name}-sweep")


def publish(study: Study, grid: Grid, found: Sequence[Trial], store: Store) -> None:
    """``studies/<study>/sweep/<modality>.json``: its newest trials and the verdict on them."""
    here = store.root / folder(study.name)
    here.mkdir(parents=True, exist_ok=True)
    for modality in dict.fromkeys(trial.modality for trial in found):
        own = [trial for trial in found if trial.modality == modality]
        table = {
            "grid": dataclasses.asdict(grid),
            "trials": [{**dataclasses.asdict(t), "stopped": t.stopped} for t in own],
            "verdicts": verdicts(own, study.optimizer.peak_lr),
        }
        text = json.dumps(table, indent=1, sort_keys=True, allow_nan=False)
        write_atomically(here / f"{modality}.json", f"{text}\n")
    store.share(folder(study.name))


def published(study: str, store: Store) -> list[dict]:
    """All published trials of a study, each with a ``note`` in words; none before its first sweep.

    ``excess`` is in nats per token above the best rate, None for what did not come to its end.
    """
    rows = []
    for path in sorted(store.gather(folder(study)).glob("*.json")):
        table = json.loads(path.read_text(encoding="utf-8"))
        for row in table["trials"]:
            verdict = table["verdicts"][0] if table["verdicts"] else {"best_lr": None}
            nats = None if row["stopped"] else row["nats_per_token"]
            excess = None if nats is None else nats - verdict["nats_per_token"]
            rows.append({**row, "excess": excess, "note": _note(row, verdict)})
    return rows


def grids(study: str, store: Store) -> list[Grid]:
    """The grids that a study's published trials are of."""
    paths = sorted(store.gather(folder(study)).glob("*.json"))
    found = [json.loads(path.read_text(encoding="utf-8"))["grid"] for path in paths]
    return list(dict.fromkeys(_grid(**values) for values in found))


def _grid(rates: list[float], modalities: list[str], hours: float | None) -> Grid:
    return Grid(rates=tuple(rates), modalities=tuple(modalities), hours=hours)


def folder(study: str) -> str:
    """Where below the root the tables of a study's sweeps lie."""
    return f"studies/{study}/sweep"


def _note(row: Mapping, verdict: Mapping) -> str:
    words = []
    if row["peak_lr"] == verdict["best_lr"]:
        words.append("best, at the edge of the grid" if verdict["at_the_edge"] else "best")
    if row["nats_per_token"] is None:
        words.append("diverged")
    if row["stopped"]:
        words.append("stopped early")
    if row["peak_lr"] == verdict.get("study_lr"):
        words.append("the study's rate")
    return "; ".join(words)


def text(found: Sequence[Trial], study_rate: float) -> str:
    """The table for people."""
    lines = [f"{'modality':<18}{'peak lr':>10}{'tokens':>14}{'nats/token':>12}{'bits/s':>9}"]
    for trial in sorted(found, key=lambda t: (t.modality, t.peak_lr)):
        losses, end = f"{'diverged':>21}", "  stopped early" if trial.stopped else ""
        if trial.nats_per_token is not None:
            losses = f"{trial.nats_per_token:>12.4f}{trial.bits_per_second:>9.2f}"
        where = f"{trial.modality:<18}{trial.peak_lr:>10.2g}{trial.tokens:>14,}"
        lines.append(f"{where}{losses}{end}")
    of_modality = {row["modality"]: row for row in verdicts(found, study_rate)}
    for modality in dict.fromkeys(trial.modality for trial in found):
        row = of_modality.get(modality)
        if row is None:
            lines.append(f"{modality}: no trial came to its end: try lower rates")
            continue
        edge = ", at the edge of the grid: try further rates" if row["at_the_edge"] else ""
        loss = row["loss_of_study_rate"]
        cost = "" if loss is None else f"; the study's {study_rate:g} costs {loss:.4f} nats more"
        lines.append(f"{modality}: best at {row['best_lr']:g}{edge}{cost}")
    return "\n".join(lines)
