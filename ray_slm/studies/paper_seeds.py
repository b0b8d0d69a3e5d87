"""The paper's study with three seeds; the first is that of ``paper`` and is not trained again."""

from dataclasses import replace

from ray_slm.rehearsal import Kit
from ray_slm.studies import paper
from ray_slm.study import Study

SEEDS = (0, 1, 2)

STUDY = replace(paper.STUDY, name="paper_seeds", seeds=SEEDS)


def rehearse(kit: Kit) -> Study:
    """The rehearsal of ``paper``, with three seeds."""
    return replace(paper.rehearse(kit), name="paper_seeds-rehearsal", seeds=SEEDS)
