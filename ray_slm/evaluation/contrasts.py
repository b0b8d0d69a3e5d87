"""The contrasts a study fixes before it looks: which modality is compared with which, and why.

Study files import this module, so nothing heavy is imported at its top.  ``table3`` sets out the
answer to every contrast and task in the shape of the paper's Table 3 (arXiv 2412.17048, section 4).
"""

import dataclasses
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    import pandas as pd


@dataclasses.dataclass(frozen=True, kw_only=True)
class Contrast:
    """One factor, read as ``modality`` minus ``baseline``; both are names of modalities."""

    REVISION: ClassVar[int] = 1
    factor: str
    baseline: str
    modality: str

    def __post_init__(self) -> None:
        """Refuse a modality compared with itself."""
        if self.baseline == self.modality:
            raise ValueError(
                f"contrast {self.factor}: {self.baseline!r} is compared with itself; "
                "name two different modalities"
            )


A_BPE = Contrast(factor="A", baseline="text-bpe", modality="phone-bpe")
A_RAW = Contrast(factor="A", baseline="text-raw", modality="phone-raw")
B = Contrast(factor="B", baseline="phone-raw", modality="phone-repeat")
C = Contrast(factor="C", baseline="phone-repeat", modality="speech-hubert")


def paper_contrasts(speech: str = C.modality) -> tuple[Contrast, ...]:
    """The paper's four contrasts, with ``speech`` as the modality of factor C."""
    return (A_BPE, A_RAW, B, dataclasses.replace(C, modality=speech))


def table3(pair_scores: "pd.DataFrame", contrasts: tuple[Contrast, ...]) -> "pd.DataFrame":
    """One row per contrast and task: the change in accuracy on three scales, with its tests.

    Args:
        pair_scores: see ``ray_slm.evaluation.pair_scores``; the default convention, the final
            layer and each run's last checkpoint are taken from it.
        contrasts: the family fixed beforehand.  Holm's correction counts every contrast of
            every task in the frame, whether or not it could be computed.

    Returns:
        factor, baseline, modality, task; points, low, high (percentage points, primary 95 %
        interval), boot_low, boot_high (two-way bootstrap); logit, logit_low, logit_high;
        skill_lost, skill_low, skill_high (percent of the baseline's above-chance skill, NaN
        where that is "n/a"); p, p_holm; p_tost, tost ("equivalent" within +-1 point, or
        "inconclusive"); num_pairs, num_clusters, num_seeds (the smaller side); note.  A
        contrast that was not evaluated keeps its row, with NaN figures and a note.
    """
    from ray_slm.evaluation.comparison import compare_all

    return compare_all(pair_scores, contrasts)
