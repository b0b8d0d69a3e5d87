import json

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ray_slm.training import checkpoint
from ray_slm.training.checkpoint import Saved

CPU = torch.device("cpu")
FILES = ["history.safetensors", "manifest.json", "model.safetensors", "state.json"]


def saved(step, run="abc"):
    groups = {
        "model": {"weight": torch.arange(6.0).reshape(2, 3) + step},
        "history": {"points": torch.tensor([[1 / 3, float(step)]], dtype=torch.float64)},
    }
    return Saved(groups, {"run": run, "step": step, "loss": 0.1 + 0.2})


def save_two(root):
    return [checkpoint.save(root, f"step-{step:09d}-0001", saved(step)) for step in (10, 20)]


def test_what_is_saved_comes_back_exactly(tmp_path):
    folder = checkpoint.save(tmp_path, "step-000000007-0001", saved(7))
    back = checkpoint.load(folder, CPU)
    assert back.state == saved(7).state
    for group, tensors in saved(7).groups.items():
        for name, tensor in tensors.items():
            assert torch.equal(back.groups[group][name], tensor)
            assert back.groups[group][name].dtype == tensor.dtype


def test_nothing_is_pickled(tmp_path):
    folder = checkpoint.save(tmp_path, "step-000000007-0001", saved(7))
    assert sorted(path.name for path in folder.iterdir()) == FILES


def test_the_newest_valid_one_is_found(tmp_path):
    _, newer = save_two(tmp_path)
    assert checkpoint.newest_valid(tmp_path, "abc") == (newer, ())


def test_an_absent_folder_holds_nothing(tmp_path):
    assert checkpoint.newest_valid(tmp_path / "none", "abc") == (None, ())


def damage(path, kind, at):
    content = bytearray(path.read_bytes())
    if kind == "missing":
        path.unlink()
    elif kind == "flip":
        content[at % len(content)] ^= 1 << (at % 8)
        path.write_bytes(content)
    elif kind == "cut":
        path.write_bytes(content[: at % len(content)])
    else:
        path.write_bytes(content + b"\0")


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    file=st.sampled_from([name for name in FILES if name != "manifest.json"]),
    kind=st.sampled_from(["missing", "flip", "cut", "longer"]),
    at=st.integers(0, 10_000),
)
def test_any_damage_is_named_and_the_older_one_taken(file, kind, at, tmp_path_factory):
    root = tmp_path_factory.mktemp("resume")
    older, newer = save_two(root)
    damage(newer / file, kind, at)
    found = checkpoint.newest_valid(root, "abc")
    assert found.folder == older
    (rejected,) = found.rejected
    assert rejected.folder == newer
    assert file in rejected.reason


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(kind=st.sampled_from(["missing", "flip", "cut", "longer"]), at=st.integers(0, 10_000))
def test_a_damaged_manifest_never_lets_wrong_content_through(kind, at, tmp_path_factory):
    root = tmp_path_factory.mktemp("resume")
    older, newer = save_two(root)
    before = (newer / "manifest.json").read_bytes()
    damage(newer / "manifest.json", kind, at)
    found = checkpoint.newest_valid(root, "abc")
    if found.folder == newer:  # only white space between values may differ
        assert json.loads((newer / "manifest.json").read_text()) == json.loads(before)
    else:
        assert found.folder == older
        assert (
            "manifest.json" in found.rejected[0].reason or "is missing" in found.rejected[0].reason
        )


def test_swapped_files_are_noticed(tmp_path):
    older, newer = save_two(tmp_path)
    contents = [(folder / "model.safetensors").read_bytes() for folder in (older, newer)]
    (older / "model.safetensors").write_bytes(contents[1])
    (newer / "model.safetensors").write_bytes(contents[0])
    found = checkpoint.newest_valid(tmp_path, "abc")
    assert found.folder is None
    assert [bad.folder for bad in found.rejected] == [newer, older]


def test_a_checkpoint_under_another_ones_name_is_noticed(tmp_path):
    older, newer = save_two(tmp_path)
    older.rename(tmp_path / "step-000000030-0001")
    found = checkpoint.newest_valid(tmp_path, "abc")
    assert found.folder == newer
    assert "step-000000010-0001" in found.rejected[0].reason


def test_a_checkpoint_of_another_run_is_passed_over(tmp_path):
    save_two(tmp_path)
    found = checkpoint.newest_valid(tmp_path, "xyz")
    assert found.folder is None
    assert "belongs to run abc, this is run xyz" in found.rejected[0].reason


def test_a_draft_that_was_never_finished_does_not_exist(tmp_path):
    older, newer = save_two(tmp_path)
    newer.rename(tmp_path / f"{newer.name}.tmp")
    assert checkpoint.newest_valid(tmp_path, "abc") == (older, ())
    checkpoint.save(tmp_path, newer.name, saved(20))  # a draft in the way is dropped
    assert checkpoint.newest_valid(tmp_path, "abc") == (newer, ())


def test_only_what_is_older_than_two_verified_ones_is_deleted(tmp_path):
    folders = [checkpoint.save(tmp_path, f"step-{n:09d}-0001", saved(n)) for n in range(4)]
    checkpoint.prune(tmp_path, folders[3:])
    assert all(folder.exists() for folder in folders)
    checkpoint.prune(tmp_path, [folders[1], folders[3]])
    assert [folder.exists() for folder in folders] == [False, True, True, True]


def publish(folder, value, draft):
    checkpoint.publish(folder, draft, {"w": torch.full((2,), value)}, {"a": 1}, {"step": value})


def test_published_bytes_depend_on_the_content_alone(tmp_path):
    publish(tmp_path / "a", 1.0, tmp_path / "draft.tmp")
    publish(tmp_path / "b", 1.0, tmp_path / "other.tmp")
    names = ["config.json", "model.safetensors", "trainer.json"]
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == names
    assert all(
        (tmp_path / "a" / n).read_bytes() == (tmp_path / "b" / n).read_bytes() for n in names
    )
    assert not (tmp_path / "draft.tmp").exists()


def test_what_was_published_is_never_replaced(tmp_path):
    publish(tmp_path / "a", 1.0, tmp_path / "draft.tmp")
    publish(tmp_path / "a", 2.0, tmp_path / "draft.tmp")
    assert json.loads((tmp_path / "a" / "trainer.json").read_text()) == {"step": 1.0}


def test_what_cannot_be_written_as_json_publishes_nothing(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        publish(tmp_path / "a", float("nan"), tmp_path / "draft.tmp")
    assert not (tmp_path / "a").exists()
