"""What the driver does with evaluations that Ray Tune finished, lost or refused: no cluster."""

import pytest

from ray_slm.cluster.evaluate import NOTHING, TRIAL_CPUS, TRIES, Evaluations, trial_demand
from ray_slm.recipes import Evaluate
from ray_slm.scheduling.stage import Demand, Stage
from ray_slm.scheduling.store import open_store
from ray_slm.stages.site import Site


class Unstarted(Evaluations):
    """Tune is not started: the test plays its part."""

    def begin(self):
        """Leave the work where it is."""


@pytest.fixture
def two(tmp_path):
    """Two evaluations of one checkpoint, and one of another, given to Tune."""
    store = open_store(tmp_path)
    train = Stage(name="train", recipe={"train": 1})
    stages = [
        Stage(
            name=f"evaluate/{n}",
            recipe=Evaluate(),
            inputs={"checkpoint": train[part], "n": Stage(name=str(n), recipe={"n": n})[""]},
        )
        for n, part in enumerate(("a", "a", "b"))
    ]
    evaluations = Unstarted(stages, Site(store, {}), 1)
    evaluations.add(stages)
    return evaluations, stages, store


def commit(store, *stages):
    for stage in stages:
        store.commit(stage, summary={}, made={})


def test_stages_of_one_checkpoint_are_one_piece_of_work(two):
    evaluations, stages, store = two
    of_a, of_b = evaluations.exchange.todo
    assert of_a.split() == [stages[0].address, stages[1].address]
    commit(store, *stages)
    evaluations.exchange.ended.extend([(of_b, None), (of_a, None)])
    assert evaluations.ended() == [(stages[2], None), (stages[0], None), (stages[1], None)]
    assert evaluations.ended() == []


def test_lost_work_is_given_to_tune_again_and_in_the_end_its_error_told(two):
    evaluations, stages, store = two
    exchange = evaluations.exchange
    commit(store, stages[0])
    lost = RuntimeError("the node died")
    for tries in range(1, TRIES + 1):
        work = exchange.todo.popleft()
        if work.split()[0] != stages[0].address:
            work = exchange.todo.popleft()
        exchange.ended.append((work, lost))
        ended = evaluations.ended()
        assert ended == ([] if tries < TRIES else [(stages[0], None), (stages[1], lost)])


def test_when_tune_starts_over_what_is_open_is_handed_out_once(two):
    evaluations, stages, store = two
    of_a, of_b = evaluations.exchange.todo
    commit(store, *stages[:2])
    evaluations.exchange.todo.clear()
    evaluations.exchange.ended.extend([(of_a, None), (of_b, RuntimeError("the node died"))])
    evaluations.start_over()
    assert [*evaluations.exchange.todo] == [NOTHING, of_a, of_b]
    assert evaluations.ended() == []
    commit(store, stages[2])
    evaluations.exchange.ended.extend([(NOTHING, None), (of_a, None), (of_b, None)])
    assert evaluations.ended() == [(stage, None) for stage in stages]


def test_what_was_refused_is_not_tried_again(two):
    evaluations, stages, _ = two
    refusal = ValueError("no items")
    evaluations.exchange.ended.append((evaluations.exchange.todo[1], refusal))
    assert evaluations.ended() == [(stages[2], refusal)]


def test_a_trial_that_left_no_record_is_an_error_in_the_end(two):
    evaluations, stages, _ = two
    work = evaluations.exchange.todo[1]
    for _ in range(TRIES):
        assert evaluations.ended() == []
        evaluations.exchange.ended.append((work, None))
    ((stage, error),) = evaluations.ended()
    assert stage is stages[2]
    assert "without a record" in str(error)


def test_trials_share_a_gpu_where_the_study_says_so():
    stages = [
        Stage(name=str(gpus), recipe={"gpus": gpus}, demand=Demand(gpus=gpus))
        for gpus in (0.0, 0.5, 0.25)
    ]
    assert trial_demand(stages) == {"CPU": TRIAL_CPUS, "GPU": 0.5}
    assert trial_demand(stages[:1]) == {"CPU": TRIAL_CPUS}
