"""What a grid of evaluations says: accuracies under every convention, layers, official figures.

Items that one of the compared models cannot read are left out for all of them on that task.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from ray_slm import parquet
from ray_slm.evaluation import official, tables
from ray_slm.evaluation.conventions import CONVENTIONS, DEFAULT_CONVENTION, flip_table
from ray_slm.evaluation.pair_scores import default_convention
from ray_slm.evaluation.pairs import decide
from ray_slm.recipes import Evaluate
from ray_slm.scheduling.evaluation_stages import Grid
from ray_slm.scheduling.stage import Stage
from ray_slm.scheduling.store import Store
from ray_slm.stages.evaluate import SCORES, quarantined_ids, read_pairs
from ray_slm.stages.items import GOLD


def pair_scores(grid: Grid, store: Store) -> pd.DataFrame:
    """The frame of ``evaluation.pair_scores``; ``modality`` is the model's label, seed is 0."""
    lost: dict[str, set[str]] = {}
    for _, task, stage in grid.evaluations:
        tokens = store.path(stage.inputs["tokens"].address)
        lost.setdefault(task, set()).update(quarantined_ids(tokens))
    frames = []
    for candidate, task, stage in grid.evaluations:
        pairs = read_pairs(store.path(stage.inputs["items"].address))
        scores = parquet.read_frame(store.path(stage.address) / SCORES)
        kept = scores[~scores["utterance"].isin(lost[task])]
        frame = decide(pairs, kept, quarantined=lost[task])
        frame["modality"], frame["task"] = candidate.label, task
        frame["seed"], frame["tokens"] = 0, candidate.tokens
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def rows(grid: Grid, store: Store) -> list[dict[str, object]]:
    """A row per model and task, JSON-ready: accuracies in percent, intervals, flips, layers."""
    frame = pair_scores(grid, store)
    accuracy = tables.accuracy_table(frame).set_index(["modality", "task", "convention"])
    flips = flip_table(frame).set_index(["modality", "task", "convention"])
    skill = tables.half_skill_table(frame).set_index(["modality", "task"])
    found = []
    for candidate, task, stage in grid.evaluations:
        of_model = accuracy.loc[(candidate.label, task)]
        known = [c for c in CONVENTIONS if c in of_model.index]
        default = of_model.loc[DEFAULT_CONVENTION]
        found.append(
            {
                "model": candidate.label,
                "task": task,
                "tokens": candidate.tokens,
                "accuracy": {c: float(of_model.loc[c, "accuracy"]) for c in known},
                "low": _known(default["low"]),
                "high": _known(default["high"]),
                "note": str(default["note"]),
                "num_pairs": int(default["num_pairs"]),
                "flipped": {
                    c: int(flips.loc[(candidate.label, task, c), "num_flipped"])
                    for c in known
                    if c != DEFAULT_CONVENTION
                },
                "half_skill_layer": _known(skill.loc[(candidate.label, task), "layer"]),
                "official": _official(stage, store),
                "flipped_by_bf16": _flipped_by_bf16(stage, store),
            }
        )
    return found


def _known(value: float) -> float | None:
    """JSON has no NaN."""
    return None if pd.isna(value) else float(value)


def _flipped_by_bf16(stage: Stage, store: Store) -> int | None:
    """Pairs that bf16 decides unlike fp32; None in fp32, or where fp32 was never run."""
    twin = dataclasses.replace(stage, recipe=Evaluate(precision="fp32"))
    if twin.address == stage.address or not store.has(twin.address):
        return None
    pairs = read_pairs(store.path(stage.inputs["items"].address))
    lost = quarantined_ids(store.path(stage.inputs["tokens"].address))
    decided = []
    for each in (stage, twin):
        scores = pd.read_parquet(store.path(each.address) / SCORES)
        frame = decide(pairs, scores, quarantined=lost)
        headline = default_convention(frame[frame["layer"] == frame["layer"].max()])
        decided.append(headline.set_index("pair")["correct"])
    return int((decided[0] != decided[1]).sum())


def _official(stage: Stage, store: Store) -> dict[str, float]:
    """The published scorer's figures in percent, where the task is a published benchmark."""
    frame = official_frame(stage, store)
    if frame is None or "correct" not in frame:
        return {}
    if "subtype" in frame:
        found = {"overall": official.syntactic(frame).overall}
    elif _several(frame):
        found = {"overall": float(official.lexical_by_word(frame)["score"].mean())}
    else:
        lexical = official.lexical(frame)
        found = {"overall": lexical.overall, "in vocabulary": lexical.in_vocabulary}
    return {name: 100 * figure for name, figure in found.items()}


def official_frame(
    stage: Stage, store: Store, convention: str = DEFAULT_CONVENTION
) -> pd.DataFrame | None:
    """Gold rows with a score each; None for tasks without gold, or where items are lacking."""
    path = store.path(stage.inputs["items"].address) / GOLD
    if not path.is_file():
        return None
    gold = parquet.read_frame(path)
    scores = parquet.read_frame(store.path(stage.address) / SCORES)
    if set(gold["utterance"]) - set(scores["utterance"]):
        return None
    return official.item_scores(gold, scores, convention)


def _several(frame: pd.DataFrame) -> bool:
    """Whether a word has more than one non-word in a voice."""
    wrong = frame[frame["correct"] == "0"]
    return bool((wrong.groupby(["id", "voice"]).size() > 1).any())


def write_submissions(grid: Grid, store: Store, folder: Path, convention: str) -> list[Path]:
    """``<model>/<level>/<split>.txt`` of every published benchmark.

    Raises ValueError where items of one have no score: half a submission is refused there.
    """
    written = []
    for candidate, task, stage in grid.evaluations:
        recipe = stage.inputs["items"].stage.recipe
        of_gold = getattr(getattr(recipe, "task", None), "folder", None)
        if of_gold is None:
            continue
        frame = official_frame(stage, store, convention)
        if frame is None:
            raise ValueError(
                f"{candidate.label} has no score of some items of {task}: see its "
                "quarantine; a submission must be whole"
            )
        path = folder / candidate.label.replace("/", "_") / f"{of_gold}.txt"
        official.write_submission(frame, path)
        written.append(path)
    return written


def table_text(found: Sequence[Mapping]) -> str:
    """Rows for people: the default convention with its interval, the others beside it."""
    width = max(len(str(row["model"])) for row in found)
    others = [c for c in CONVENTIONS if c != DEFAULT_CONVENTION]
    head = f"{'model':<{width}}  {'task':<20}{DEFAULT_CONVENTION + ' [95 %]':<22}"
    lines = [head + "".join(f"{c:>12}" for c in others) + "   half the skill at layer"]
    for row in found:
        interval = f"{row['accuracy'][DEFAULT_CONVENTION]:5.1f} {_interval(row)}"
        cells = []
        for name in others:
            value = row["accuracy"].get(name)
            flipped = row["flipped"].get(name, 0)
            cells.append(f"{'-' if value is None else f'{value:.1f} ({flipped})':>12}")
        layer = "-" if row["half_skill_layer"] is None else f"{row['half_skill_layer']:.0f}"
        line = f"{row['model']:<{width}}  {row['task']:<20}{interval:<22}{''.join(cells)}   {layer}"
        official_figures = ", ".join(f"{k} {v:.2f}" for k, v in row["official"].items())
        lines.append(line + (f"   official: {official_figures}" if official_figures else ""))
    lines.append(f"percent right; in parentheses: decisions unlike those of {DEFAULT_CONVENTION!r}")
    bf16 = [row["flipped_by_bf16"] for row in found if row["flipped_by_bf16"] is not None]
    if bf16:
        lines.append(f"bf16 decides {sum(bf16)} pairs unlike fp32")
    notes = sorted({str(row["note"]) for row in found if row["note"]})
    return "\n".join([*lines, *(f"intervals: {note}" for note in notes)])


def _interval(row: Mapping) -> str:
    return "[none]" if row["low"] is None else f"[{row['low']:.1f} {row['high']:.1f}]"
