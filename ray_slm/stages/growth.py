"""What the report shows of growth with training: fits, curves, and the cost of an accuracy.

Everything is computed against tokens; hours of audio and FLOPs are tokens times a rate of the
modality, so that curves against them have the same form.
"""

from collections.abc import Iterable, Mapping

import pandas as pd

from ray_slm.evaluation.budgets import best_forms, curve_table, seed_slopes, view_table
from ray_slm.evaluation.gaps import gap_table, reach_table, slope_ratio_table
from ray_slm.evaluation.pair_scores import default_convention, final_layer
from ray_slm.evaluation.scaling import loss_table, scaling_table
from ray_slm.recipes import Report, Train
from ray_slm.report.tables import Results
from ray_slm.scheduling.stage import Stage
from ray_slm.training.scale import Scale, flops_per_token, table_size

GOALS = (55.0, 60.0, 70.0, 80.0, 90.0)  # percent: accuracies whose cost is printed


def growth(report: Stage, trained: pd.DataFrame, found: Results) -> Results:
    """The results with the frames about growth, from decisions of trained checkpoints.

    Tokens, losses and scaling_points are taken from what was found already.
    """
    recipe = report.recipe
    assert isinstance(recipe, Report)
    trained = default_convention(final_layer(trained))  # all that curves are made of
    fits, rates = scaling_table(trained), budgets(report, found.tokens)
    goals = _goals(found.scaling_points)

    def of(tasks: set[str]) -> pd.DataFrame:
        return trained[trained["task"].isin(tasks)]

    slopes = [seed_slopes(trained, form=form) for form in ("linear", "log-linear")]
    found = found._replace(
        scaling_fits=fits,
        fit_curves=curve_table(trained, best_forms(fits)),
        seed_slopes=pd.concat(slopes, ignore_index=True),
        reach=pd.concat([reach_table(of(tasks), goal) for goal, tasks in goals.items()]),
        budgets=rates,
        loss_fits=pd.DataFrame() if found.losses.empty else loss_table(found.losses),
    )
    if not recipe.contrasts:
        return found
    gaps = [gap_table(of(tasks), recipe.contrasts, goal) for goal, tasks in goals.items()]
    found = found._replace(
        gaps=_priced(pd.concat(gaps, ignore_index=True), rates),
        slope_ratios=slope_ratio_table(trained, recipe.contrasts),
    )
    known = rates.dropna().set_index("modality")
    if not set(trained["modality"]) <= set(known.index):
        return found
    costs = (known[f"{name}_per_token"].to_dict() for name in ("hours", "flops"))
    return found._replace(views=view_table(trained, recipe.contrasts, *costs))


def _goals(points: pd.DataFrame) -> dict[float, set[str]]:
    """Accuracies worth asking for, with the tasks where some run reached them; else the least."""
    highest = points[points["tokens"] > 0].groupby("task")["accuracy"].max()
    found: dict[float, set[str]] = {}
    for task, accuracy in highest.items():
        for goal in [goal for goal in GOALS if goal <= accuracy] or GOALS[:1]:
            found.setdefault(goal, set()).add(str(task))
    return found


def budgets(report: Stage, tokens: pd.DataFrame) -> pd.DataFrame:
    """What a trained token costs each modality.

    Returns: modality, hours_per_token (of audio, at the nominal rate that checkpoints follow),
    flops_per_token (forward and backward, of an utterance of mean length; NaN where the training
    split was not tokenized).
    """
    recipe = report.recipe
    assert isinstance(recipe, Report)
    sizes = {row["modality"]: row for row in _training_split(tokens)}
    scales = dict(_scales(artifact.stage for artifact in report.inputs.values()))
    rows = []
    for modality, rate in recipe.tokens_per_second:
        size, flops = sizes.get(modality), float("nan")
        if size is not None and modality in scales and size["num_utterances"]:
            mean_length = size["num_tokens"] / size["num_utterances"]
            rows_of_table = table_size(int(size["vocab_size"]))
            flops = flops_per_token(scales[modality], mean_length, rows_of_table)
        rows.append((modality, 1 / (3600 * rate), flops))
    return pd.DataFrame(rows, columns=["modality", "hours_per_token", "flops_per_token"])


def _training_split(tokens: pd.DataFrame) -> list[Mapping]:
    if tokens.empty:
        return []
    rows: list[Mapping] = tokens[tokens["split"] == "train"].to_dict(orient="records")
    return rows


def _scales(stages: Iterable[Stage]) -> Iterable[tuple[str, Scale]]:
    for stage in stages:
        if isinstance(stage.recipe, Train):
            yield stage.name.split("/")[1], stage.recipe.scale


def _priced(gaps: pd.DataFrame, rates: pd.DataFrame) -> pd.DataFrame:
    """With the same ratio in hours of audio and in FLOPs."""
    per_token = rates.set_index("modality")
    for name in ("hours", "flops"):
        cost = per_token[f"{name}_per_token"]
        ratio = gaps["modality"].map(cost) / gaps["baseline"].map(cost)
        gaps[f"times_{name}"] = gaps["times"] * ratio
    return gaps
