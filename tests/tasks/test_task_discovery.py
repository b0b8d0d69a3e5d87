import dataclasses
import re

import pytest

from ray_slm.scheduling.identity import canonical
from ray_slm.tasks.discovery import checked, discover
from ray_slm.tasks.swuggy import TASK

TASKS = discover()
MADE = [name for name, task in TASKS.items() if not hasattr(task, "place")]


def test_made_tasks_and_published_benchmarks_are_found():
    assert set(MADE) == {"swuggy", "sblimp", "topic-storycloze"}
    assert set(TASKS) >= {
        *("zerospeech-swuggy", "zerospeech-sblimp", "tsc", "ssc", "storycloze", "blimp"),
        *("babyslm-lexical", "babyslm-syntactic"),
    }


@pytest.mark.parametrize("name", TASKS)
def test_a_task_is_a_value_with_an_identity(name):
    task = TASKS[name]
    assert task.name == name
    assert canonical(task) == canonical(dataclasses.replace(task))
    assert canonical(task) != canonical(dataclasses.replace(task, title="another"))
    assert type(task).REVISION >= 1


@pytest.mark.parametrize("name", MADE)
def test_pairs_have_safe_ids_and_two_different_sides(name, made_by):
    pairs = made_by(name).pairs
    for pair in pairs:
        assert re.fullmatch(r"[a-z0-9-]+", pair.id)
        assert pair.positive != pair.negative
        assert pair.cluster
        assert pair.type
        assert pair.subtype
    assert len({pair.id for pair in pairs}) == len(pairs)


@pytest.mark.parametrize("wrong", [type(TASK), "swuggy", object(), ValueError("x")])
def test_what_is_no_task_is_refused_with_its_place(wrong):
    with pytest.raises(ValueError, match=r"some\.file: TASK is .* not a frozen dataclass"):
        checked(wrong, "some.file")
