"""The runner: what is ready is launched, what failed stops only what needs it."""

from ray_slm.scheduling import runner
from ray_slm.scheduling.stage import Demand, Stage
from ray_slm.scheduling.store import Store


class Backend:
    """Commits each stage when asked what finished; fails those it was told to."""

    def __init__(self, store, failing=()):
        self.store, self.failing, self.order, self.ended = store, failing, [], []

    def submit(self, stage):
        self.order.append(stage.name)
        if stage.name in self.failing:
            self.ended.append((stage, ValueError("poisoned")))
        else:
            self.store.commit(stage, summary={}, made={})
            self.ended.append((stage, None))

    def finished(self):
        ended, self.ended = self.ended, []
        return ended


def chain(*names, inputs=None):
    return Stage(name="/".join(names), recipe={"name": names}, inputs=inputs or {})


def test_stages_run_after_their_inputs_and_a_second_run_does_nothing(tmp_path):
    store = Store(tmp_path)
    corpus = chain("corpus")
    tokens = chain("tokens", inputs={"corpus": corpus[""]})
    outcome = runner.run([tokens, corpus], store, Backend(store))
    assert [stage.name for stage in outcome.made] == ["corpus", "tokens"]
    again = Backend(store)
    assert runner.run([tokens, corpus], store, again).made == ()
    assert again.order == []


def test_a_failure_leaves_siblings_running_and_its_dependents_waiting(tmp_path):
    store = Store(tmp_path)
    corpus = chain("corpus")
    runs = [chain("train", str(i), inputs={"corpus": corpus[""]}) for i in range(6)]
    report = chain("report", inputs={run.name: run[""] for run in runs})
    backend = Backend(store, failing=("train/3",))
    outcome = runner.run([corpus, *runs, report], store, backend)
    assert list(outcome.failed) == ["train/3"]
    assert len(outcome.made) == 6
    assert outcome.waiting == (report,)


def test_a_part_with_a_record_is_enough_to_start_on(tmp_path):
    store = Store(tmp_path)
    run = chain("train")
    evaluation = chain("evaluate", inputs={"checkpoint": run["checkpoint-5"]})
    order = []

    class Slow(Backend):
        def submit(self, stage):
            order.append(stage.name)
            if stage is run:
                self.store.commit(run, part="checkpoint-5", summary={}, made={})
            else:
                super().submit(stage)

        def finished(self):
            if "evaluate" in order and not self.store.has(run.address):
                super().submit(run)  # the run ends only after its checkpoint was evaluated
            return super().finished()

    outcome = runner.run([run, evaluation], store, Slow(store))
    assert order == ["train", "evaluate"]
    assert {stage.name for stage in outcome.made} == {"train", "evaluate"}


def test_the_highest_priority_starts_first(tmp_path):
    store = Store(tmp_path)
    stages = [
        Stage(name=f"train/{i}", recipe={"i": i}, demand=Demand(priority=i)) for i in range(4)
    ]
    backend = Backend(store)
    runner.run(stages, store, backend)
    assert backend.order == ["train/3", "train/2", "train/1", "train/0"]


def test_the_store_is_asked_only_for_what_running_stages_can_write(tmp_path):
    """A thousand stages wait for few records; each poll must not look for all of them."""
    asked = []

    class Counting(Store):
        def present(self, addresses):
            asked.extend(addresses)
            return super().present(addresses)

    store = Counting(tmp_path)
    run = chain("train")
    parts = [run[f"checkpoint-{n}"] for n in range(5)]
    waiting = [
        chain("evaluate", str(n), inputs={"checkpoint": parts[n % 5], "corpus": chain("never")[""]})
        for n in range(500)
    ]

    class Polled(Backend):
        polls = 0

        def submit(self, stage):
            self.order.append(stage.name)

        def finished(self):
            self.polls += 1
            if self.polls == 1:
                asked.clear()  # what was asked before the first poll
            return [(run, None)] if self.polls == 4 else []

    backend = Polled(store)
    outcome = runner.run([run, *waiting], store, backend)
    assert backend.order == ["train"]
    assert len(outcome.waiting) == 500
    assert set(asked) == {part.address for part in parts}
    assert len(asked) == 4 * len(parts)
