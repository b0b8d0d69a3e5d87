"""Compare two studies: what `ray-slm compare` does."""

import pandas as pd

from ray_slm.evaluation.versus import Judged, accuracies, effects
from ray_slm.scheduling.store import Store
from ray_slm.stages import results
from ray_slm.stages.evaluate import read_pairs
from ray_slm.stages.report import stage_of
from ray_slm.study import Study


def judged(study: Study, store: Store) -> Judged:
    """The decisions of a study, as far as it has been evaluated.

    Raises ValueError when it has not been at all.
    """
    report = stage_of(study)
    scores = results.pair_scores(report, store)
    if scores.empty or not (scores["tokens"] > 0).any():
        raise ValueError(
            f"{study.name} has no evaluation of a trained model in {store.location}: run it first"
        )
    frames = [
        read_pairs(store.path(stage.address)).assign(task=parts[1]).rename(columns={"id": "pair"})
        for parts, stage in results.done(report, "items", store)
    ]
    return Judged(scores[scores["tokens"] > 0], pd.concat(frames, ignore_index=True))


def compare(first: tuple[Study, Store], second: tuple[Study, Store]) -> dict[str, list[dict]]:
    """Second minus first: accuracies, and the effects of the contrasts that both have."""
    sides = judged(*first), judged(*second)
    contrasts = [c for c in first[0].contrasts if c in second[0].contrasts]
    tables = {"accuracies": accuracies(*sides), "effects": effects(*sides, contrasts)}
    return {name: _records(table) for name, table in tables.items()}


def _records(table: pd.DataFrame) -> list[dict]:
    """Rows with None for what is not a number, so that JSON can hold them."""
    found: list[dict] = table.astype(object).where(table.notna(), None).to_dict("records")
    return found


def text(found: dict[str, list[dict]], first: str, second: str) -> str:
    """The comparison for people."""
    if not found["accuracies"]:
        return f"{first} and {second} have no modality and task in common"
    lines = [f"{second} minus {first}, points with 95 % intervals"]
    for row in found["accuracies"]:
        lines.append(_line(f"{row['modality']:<18}{row['task']:<18}", row))
    if found["effects"]:
        lines.append(f"effects of factors: how much more they do in {second}")
    for row in found["effects"]:
        lines.append(_line(f"{row['factor']} {row['modality']:<16}{row['task']:<18}", row))
    return "\n".join(lines)


def _line(names: str, row: dict) -> str:
    interval = "no interval" if row["low"] is None else f"[{row['low']:+6.1f} {row['high']:+6.1f}]"
    shared = f"{row['num_shared']} shared pairs" if row["num_shared"] else ""
    notes = ", ".join(note for note in (shared, row["note"]) if note)
    values = f"{row['first']:6.1f} {row['second']:6.1f}  {row['points']:+6.1f} {interval}"
    return f"  {names}{values}  {notes}"
