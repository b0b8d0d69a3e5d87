"""Contrasts computed from the frame of decisions: the confirmatory family and its breakdowns."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ray_slm.evaluation.clusters import Panel, panels
from ray_slm.evaluation.contrasts import Contrast
from ray_slm.evaluation.intervals import bootstrap, linear_interval, percentiles
from ray_slm.evaluation.pair_scores import headline
from ray_slm.evaluation.statistics import (
    benjamini_hochberg,
    effect,
    equivalence_p,
    equivalence_verdict,
    holm,
)

NOT_EVALUATED = "not evaluated"
_FIGURES = (
    *("points", "low", "high", "boot_low", "boot_high", "logit", "logit_low", "logit_high"),
    *("skill_lost", "skill_low", "skill_high", "p", "p_tost"),
)
TABLE3_COLUMNS = (
    *("factor", "baseline", "modality", "task", "points", "low", "high", "boot_low", "boot_high"),
    *("logit", "logit_low", "logit_high", "skill_lost", "skill_low", "skill_high", "p", "p_holm"),
    *("p_tost", "tost", "num_pairs", "num_clusters", "num_seeds", "note"),
)


def compare_all(
    pair_scores: pd.DataFrame, contrasts: Sequence[Contrast], *, replicates: int = 2000
) -> pd.DataFrame:
    """The frame of ``contrasts.table3``, which documents it; 0 replicates: no bootstrap."""
    frame = headline(pair_scores)
    rows = []
    for contrast in contrasts:
        for task in sorted(pair_scores["task"].unique()):
            found = _panels_of(frame[frame["task"] == task], contrast)
            names = {
                "factor": contrast.factor,
                "baseline": contrast.baseline,
                "modality": contrast.modality,
                "task": task,
            }
            rows.append(
                {**names, **(_missing_row() if found is None else _row(*found, replicates))}
            )
    table = pd.DataFrame(rows, columns=[c for c in TABLE3_COLUMNS if c != "p_holm"])
    table["p_holm"] = holm(table["p"].to_numpy(dtype=np.float64))
    return table[list(TABLE3_COLUMNS)]


def compare_by(
    pair_scores: pd.DataFrame, contrasts: Sequence[Contrast], *, by: str = "subtype"
) -> pd.DataFrame:
    """Exploratory contrasts within each value of a column: type, subtype or band.

    Pairs are their own clusters where a group has only one cluster.

    Returns:
        factor, baseline, modality, task, <by>, points, low, high, p, p_fdr (Benjamini-Hochberg
        over all rows), num_pairs, note.  Groups that a modality lacks are left out.
    """
    frame = headline(pair_scores)
    rows = []
    for contrast in contrasts:
        for (task, value), group in frame.groupby(["task", by], observed=True):
            if group["cluster"].nunique() == 1:
                group = group.assign(cluster=group["pair"])
            found = _panels_of(group, contrast)
            if found is None:
                continue
            baseline, modality = found
            points = linear_interval([modality, baseline], [100.0, -100.0])
            names = (contrast.factor, contrast.baseline, contrast.modality, task, value)
            figures = (points.estimate, points.low, points.high, points.p)
            rows.append((*names, *figures, baseline.num_pairs, points.note))
    columns = ["factor", "baseline", "modality", "task", by, "points", "low", "high", "p"]
    table = pd.DataFrame(rows, columns=[*columns, "num_pairs", "note"])
    table.insert(9, "p_fdr", benjamini_hochberg(table["p"].to_numpy(dtype=np.float64)))
    return table


def _panels_of(frame: pd.DataFrame, contrast: Contrast) -> tuple[Panel, Panel] | None:
    """Baseline and modality over the same pairs, or None where either was not evaluated."""
    sides = [frame[frame["modality"] == name] for name in (contrast.baseline, contrast.modality)]
    if any(side.empty for side in sides):
        return None
    baseline, modality = panels(sides)
    return baseline, modality


def _row(baseline: Panel, modality: Panel, replicates: int) -> dict[str, object]:
    points, logit, skill = effect(baseline, modality)
    boot = (np.nan, np.nan)
    if replicates:
        accuracies = 100 * bootstrap([modality, baseline], replicates=replicates)
        boot = percentiles(accuracies[:, 0] - accuracies[:, 1])
    p_tost = equivalence_p(points)
    notes = dict.fromkeys(note for note in (points.note, logit.note, skill.note) if note)
    return {
        **{"points": points.estimate, "low": points.low, "high": points.high, "p": points.p},
        **{"boot_low": boot[0], "boot_high": boot[1]},
        **{"logit": logit.estimate, "logit_low": logit.low, "logit_high": logit.high},
        **{"skill_lost": skill.estimate, "skill_low": skill.low, "skill_high": skill.high},
        **{"p_tost": p_tost, "tost": equivalence_verdict(p_tost)},
        "num_pairs": baseline.num_pairs,
        "num_clusters": baseline.num_clusters,
        "num_seeds": min(baseline.num_seeds, modality.num_seeds),
        "note": "; ".join(notes),
    }


def _missing_row() -> dict[str, object]:
    counts = dict.fromkeys(("num_pairs", "num_clusters", "num_seeds"), 0)
    nothing = dict.fromkeys(_FIGURES, np.nan)
    return {**nothing, **counts, "tost": "", "note": NOT_EVALUATED}
