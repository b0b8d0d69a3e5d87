"""What a tracker sees of a run that trains on another node, when the root is a bucket."""

import json
from dataclasses import replace

from ray_slm import tracked
from ray_slm.recipes import Train
from ray_slm.scheduling.plan import plan
from ray_slm.stages import train
from ray_slm.stages.site import Site
from ray_slm.studies.smoke import STUDY

BRANCHED = replace(
    STUDY, name="branched", optimizer=replace(STUDY.optimizer, schedule="wsd-branches")
)


def runs(study, modality="text-raw"):
    stages = [s for s in plan(study) if isinstance(s.recipe, Train)]
    return [stage for stage in stages if stage.name.split("/")[1] == modality]


def append(store, run, step, **point):
    path = store.scratch(run.address) / "journal-0001.jsonl"
    with path.open("a") as file:
        line = {"time": 1e9 + step, "step": step, "tokens": 10 * step, **point}
        file.write(json.dumps(line) + "\n")


def test_steps_of_a_running_run_arrive_once_each(node):
    there, here = node("worker"), node("driver")
    (run,) = runs(STUDY)
    journals = tracked.Journals()
    assert journals.new_points(run, here) == []
    for step in range(3):
        append(there, run, step, loss=4.0 - step, lr=1e-3)
        there.share(run.address, "journal-")
        found = journals.new_points(run, here)
        assert {(p.name, p.tokens) for p in found} == {(name, 10 * step) for name in ("loss", "lr")}
        journals.confirm()
        assert journals.new_points(run, here) == []
    again = tracked.Journals().new_points(run, node("a driver started again"))
    assert len(again) == 6


def test_of_a_long_curve_one_step_in_ten_seconds_is_shown_and_all_validations(node):
    store = node("here")
    (run,) = runs(STUDY)
    journals, steps, validations = tracked.Journals(), [], 0
    for step in range(1, 1001):  # one a second
        append(store, run, step, loss=1.0, slots=512)
        if step % 100 == 50:
            append(store, run, step, nats_per_token=2.0)
        if step % 37 == 0 or step == 1000:
            found = journals.new_points(run, store)
            if step % 2:  # an outage: nothing arrived
                continue
            steps += [p.tokens // 10 for p in found if p.name == "loss"]
            validations += sum(p.name == "nats_per_token" for p in found)
            assert {p.name for p in found} <= {"loss", "nats_per_token"}
            journals.confirm()
    assert steps == [*range(1, 101), *range(110, 1001, 10)]
    assert validations == 10


def test_a_run_shares_its_journal_between_checkpoints_and_its_other_ranks_do_not(node, monkeypatch):
    there, here = node("worker"), node("driver")
    (run,) = runs(STUDY)
    monkeypatch.setattr(train, "JOURNAL_SECONDS", 0.0)
    for first in (False, True):
        append(there, run, 1, loss=4.0)
        events = train.CommitCheckpoints(run, Site(there, {}), lambda: False, keeps_journal=first)
        assert not events.step({})
        events.close()
        assert bool(tracked.Journals().new_points(run, here)) == first


def test_a_journal_that_grows_while_it_is_sent_arrives_whole(node, monkeypatch):
    """Its digest must be of the bytes that are sent, or no other node would take it."""
    there, here = node("worker"), node("driver")
    (run,) = runs(STUDY)
    append(there, run, 1, loss=4.0)
    send = type(there.bucket).upload

    def upload(bucket, key, path):
        append(there, run, 2, loss=3.0)
        send(bucket, key, path)

    monkeypatch.setattr(type(there.bucket), "upload", upload)
    there.share(run.address, "journal-")
    found = tracked.Journals().new_points(run, here)
    assert [p.value for p in found if p.name == "loss"] == [4.0]


def test_a_branch_is_part_of_its_trunks_line_and_its_steps_have_a_name_of_their_own(node):
    store = node("here")
    lines = tracked.lines(plan(BRANCHED))
    assert len(lines) == len(BRANCHED.modalities)
    line = lines["text-raw", "seed-0"]
    trunk, *branches = line.stages
    assert trunk.name == "train/text-raw/seed-0"
    assert line.trunk is trunk
    assert [b.name for b in branches] == [b.name for b in runs(BRANCHED)[1:]]
    assert tracked.line_of(branches[-1]) == ("text-raw", "seed-0")
    ends = [branch.recipe.total_tokens for branch in branches]
    assert tracked.parameters(line)["total_tokens"] == str(max(ends))
    for stage in (branches[1], trunk, branches[0]):
        for tokens in stage.recipe.checkpoints:
            part = f"checkpoint-{tokens:012d}"
            store.commit(stage, part=part, summary={}, made={})
    assert list(tracked.published(line, store)) == [0, *ends]
    append(store, branches[0], 9, loss=3.0)
    (point,) = tracked.Journals().new_points(branches[0], store)
    assert point.name == "cooldown/loss"


def test_a_trial_of_a_sweep_is_a_line_of_its_own():
    rates = [replace(run, name=f"sweep/text-raw/lr-{n}") for n, run in enumerate(runs(STUDY) * 2)]
    assert [line.label for line in tracked.lines(rates).values()] == ["lr-0", "lr-1"]


def test_points_leave_out_what_is_no_number():
    line = json.loads('{"time": 1.0, "tokens": 5, "loss": NaN, "event": "start", "lr": 0.1}')
    assert list(tracked.points(line)) == [tracked.Point("lr", 0.1, 1.0, 5)]
