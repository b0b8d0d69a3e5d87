import importlib
import sys

import pytest

import ray_slm.modalities
from ray_slm.modalities.discovery import discover

NEW = """
from ray_slm.modalities.modality import Modality
from ray_slm.modalities.text_raw import TextRaw
MODALITY = Modality(name={name!r}, stream=TextRaw(), nominal_tokens_per_second=1.0)
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Put a file into the package for the time of a test."""
    monkeypatch.setattr(
        ray_slm.modalities, "__path__", [*ray_slm.modalities.__path__, str(tmp_path)]
    )
    before = set(sys.modules)

    def put(file_name, text):
        (tmp_path / file_name).write_text(text)
        importlib.invalidate_caches()

    yield put
    for name in set(sys.modules) - before:
        if name.startswith("ray_slm.modalities."):
            del sys.modules[name]


def test_a_new_file_is_a_new_modality_and_changes_no_other(write):
    before = discover()
    write("text_test.py", NEW.format(name="text-test"))
    found = discover()
    assert found.pop("text-test").nominal_tokens_per_second == 1.0
    assert found == before


def test_a_file_without_the_constant_is_machinery(write):
    before = discover()
    write("machinery.py", "SOMETHING = 1")
    assert discover() == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("MODALITY = 'text'", "MODALITY is a str, not a Modality"),
        (NEW.format(name="other"), "is named 'other'; name it 'zz-new'"),
        (NEW.format(name="text-raw"), "a second file holds a modality named 'text-raw'"),
    ],
)
def test_a_wrong_constant_is_an_error_that_names_the_file(write, text, message):
    write("zz_new.py", text)
    with pytest.raises(ValueError, match=f"ray_slm.modalities.zz_new: .*{message}"):
        discover()
