"""The paper's study with its own schedule: one cosine to the end, its checkpoints in mid-decay."""

from dataclasses import replace

from ray_slm.rehearsal import Kit
from ray_slm.studies import paper
from ray_slm.study import Study
from ray_slm.training.scale import Optimizer

COSINE = Optimizer(schedule="cosine", min_lr_fraction=0.1)  # to 4e-5, as TinyLlama

STUDY = replace(paper.STUDY, name="paper_cosine", optimizer=COSINE)


def rehearse(kit: Kit) -> Study:
    """The rehearsal of ``paper``, with the cosine."""
    return replace(paper.rehearse(kit), name="paper_cosine-rehearsal", optimizer=COSINE)
