"""Drivers and encoders killed in mid-work; ``benchmarks/kills.py`` kills 25 times."""

import pytest

from benchmarks.kills import killed_runs

pytestmark = pytest.mark.cluster


def test_killed_drivers_and_encoders_leave_no_trace(tmp_path, places):
    calm, killed = killed_runs(tmp_path, num_kills=2, seed=3)
    assert calm.conserved
    (one,) = killed
    assert one.conserved
    assert one.files == calm.files
