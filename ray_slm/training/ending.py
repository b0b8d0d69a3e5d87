"""When a run is over: a rule fixed beforehand, as a pure function of how far the run is.

What was validated is part of what a run resumes from, so an interrupted run ends at the same step.
"""

from collections.abc import Sequence

from ray_slm.training.objective import Validation
from ray_slm.training.run import Run
from ray_slm.training.scale import Ending


def total_tokens(run: Run, epoch_tokens: int) -> int:
    """Trained tokens of the whole run: its budget, or those of its exact epochs."""
    epochs = run.ending.epochs
    return run.total_tokens if epochs is None else epochs * epoch_tokens


def gave_up(rule: Ending, epoch_tokens: int, validations: Sequence[Validation]) -> bool:
    """Whether the last ``patience`` validations gained nothing over all that came before them."""
    if rule.patience is None or len(validations) <= rule.patience:
        return False
    earlier, late = validations[: -rule.patience], validations[-rule.patience :]
    if late[0].tokens < rule.patience_from_epoch * epoch_tokens:
        return False
    best = min(validation.nats_per_token for validation in earlier)
    return min(validation.nats_per_token for validation in late) >= best - rule.min_gain
