import pytest

from ray_slm.pace import Pace, Pacer, read_pace


def test_the_pace_tells_share_speed_and_time_left():
    pace = Pace(before=3600.0, done=7200.0, total=36_000.0, elapsed_seconds=60.0)
    assert pace.hours_per_hour == 120
    assert pace.seconds_left == pytest.approx(25_200 / 120)
    assert str(pace) == "30% at 120 h/h, 3:30 left"


def test_before_anything_is_done_there_is_no_estimate():
    assert str(Pace(before=50.0, done=0.0, total=100.0, elapsed_seconds=9.0)) == "50%"


def test_what_is_written_can_be_read_by_a_terminal(tmp_path):
    assert read_pace(tmp_path) is None
    pacer = Pacer(tmp_path / "scratch", before=10.0, total=40.0)
    pacer.add(15.0)
    pacer.add(15.0)
    found = read_pace(tmp_path / "scratch")
    assert (found.before, found.done, found.total) == (10.0, 30.0, 40.0)
    assert found.seconds_left == 0
