"""What a sweep found on one node is on the page that another renders."""

from ray_slm import sweep
from ray_slm.studies.smoke import STUDY
from tests.training.test_sweep import RATES, trial

GRID = sweep.Grid(rates=RATES)


def test_sweeps_in_a_bucket_are_seen_from_every_node(node):
    here, there = node("one"), node("two")
    sweep.publish(STUDY, GRID, [trial(2e-3, 2.0), trial(5e-4, 2.5)], here)
    assert [row["peak_lr"] for row in sweep.published("smoke", there)] == [2e-3, 5e-4]
    sweep.publish(STUDY, GRID, [trial(1e-3, 1.0)], node("three"))  # another sweep, of fewer rates
    assert [row["peak_lr"] for row in sweep.published("smoke", node("four"))] == [1e-3]
