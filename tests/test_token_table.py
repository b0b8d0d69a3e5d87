"""Table 2 comes from records alone, and what was left out is counted against the corpus."""

import json
import subprocess
import sys

import pytest

from ray_slm import token_table
from ray_slm.scheduling.stage import Stage
from ray_slm.scheduling.store import Store
from ray_slm.stages import results
from tests import smoke

CORPUS = Stage(name="corpus/c", recipe={"kind": "corpus"})
ITEMS = Stage(name="items/t", recipe={"kind": "items"}, inputs={"corpus": CORPUS[""]})
TEXT = Stage(name="tokens/text-raw/c", recipe={"s": "text"}, inputs={"corpus": CORPUS[""]})
UNITS = Stage(name="tokens/speech-hubert/c", recipe={"s": "unit"}, inputs={"corpus": CORPUS[""]})
OF_ITEMS = Stage(name="tokens/text-raw/t", recipe={"s": "text"}, inputs={"corpus": ITEMS[""]})
REPORT = Stage(
    name="report/r", recipe={}, inputs={s.name: s[""] for s in (CORPUS, TEXT, UNITS, OF_ITEMS)}
)
STAGES = [CORPUS, ITEMS, TEXT, UNITS, OF_ITEMS, REPORT]


def counts(num_utterances, num_tokens, seconds):
    return {
        "num_utterances": num_utterances,
        "num_tokens": num_tokens,
        "seconds": seconds,
        "ids_sha256": "0" * 64,
        "shards": [0],
    }


@pytest.fixture
def store(tmp_path):
    """A corpus of 10 + 4 utterances of which text keeps 9 + 0; units are not there yet."""
    store = Store(tmp_path)
    splits = {"dev": {"utterances": 4}, "train": {"utterances": 10}}
    quarantined = {"AUDIO_SILENT": 2}
    summary = {"candidates": 16, "quarantined": quarantined, "splits": splits}
    store.commit(CORPUS, summary=summary, made={})
    of_text = {"vocab_size": 78, "splits": {"train": counts(9, 900, 1800.0)}}
    store.commit(TEXT, summary=of_text, made={})
    of_items = {"vocab_size": 78, "splits": {"items": counts(3, 30, 3.0)}}
    store.commit(OF_ITEMS, summary=of_items, made={})
    return store


def test_each_split_is_counted_against_the_corpus(store):
    found = token_table.as_json(STAGES, store)
    dev, train = found["rows"]
    assert (train["num_quarantined"], train["quarantined_share"]) == (1, 0.1)
    assert (train["tokens_per_second"], train["hours"]) == (0.5, 0.5)
    assert (dev["num_tokens"], dev["num_quarantined"], dev["quarantined_share"]) == (0, 4, 1.0)
    assert found["pending"] == ["tokens/speech-hubert/c"]
    assert found["corpora"] == [
        {"corpus": "corpus/c", "candidates": 16, "quarantined": {"AUDIO_SILENT": 2}}
    ]


def test_the_report_shows_the_same_rows(store):
    frame = results.tokens(REPORT, store)
    rows = token_table.token_counts(TEXT, store)
    assert frame["num_quarantined"].tolist() == [row.num_quarantined for row in rows] == [4, 1]
    assert set(frame["modality"]) == {"text-raw"}


def test_people_read_one_line_per_split_and_one_per_corpus(store):
    lines = token_table.as_text(STAGES, store).splitlines()
    assert lines[0].split() == list(token_table.TITLES)
    assert lines[2].split() == [
        "text-raw",
        "train",
        "78",
        "900",
        "0.50",
        "0.50",
        "1",
        "(10.00",
        "%)",
    ]
    assert lines[3].split() == ["speech-hubert", "pending"]
    assert lines[4] == "corpus/c: 2 of 16 candidates quarantined (12.50 %): AUDIO_SILENT 2"


def test_the_quality_of_units_is_told(store):
    codebook = Stage(name="vocabulary/speech-hubert", recipe={"k": 500})
    words = Stage(name="vocabulary/text-bpe", recipe={"k": 2048})
    quality = {"pnmi": 0.734, "speaker_nmi": 0.143, "usage_entropy": 0.95, "unused_share": 0.0}
    counted = {"num_units": 500, "num_frames": 45_000}
    store.commit(codebook, summary={**counted, **quality, "num_refused": 0}, made={})
    store.commit(words, summary={"vocab_size": 2048}, made={})
    stages = [*STAGES, codebook, words]
    assert token_table.as_json(stages, store)["units"] == {codebook.name: {**counted, **quality}}
    assert token_table.as_text(stages, store).splitlines()[-1] == (
        "vocabulary/speech-hubert: 500 units on 45,000 frames: pnmi 0.734, speaker nmi 0.143, "
        "usage entropy 0.950, unused share 0.000"
    )


def test_records_that_contradict_each_other_are_refused(store):
    twice = {"vocab_size": 500, "splits": {"train": counts(11, 900, 1800.0)}}
    store.commit(UNITS, summary=twice, made={})
    with pytest.raises(ValueError, match=r"11 utterances of train .* only 10"):
        token_table.token_counts(UNITS, store)


def test_the_verb_loads_nothing_heavy(tmp_path):
    heavy = ("torch", "ray", "transformers", "sklearn", "mlflow", "pandas")
    arguments = ["tokens", "smoke", "--root", str(tmp_path), "--json"]
    code = (
        "import sys; from ray_slm.cli import app\n"
        f"try: app({arguments!r})\nexcept SystemExit as end: assert not end.code\n"
        f"print([m for m in {heavy!r} if m in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=smoke.REPOSITORY
    )
    assert found.returncode == 0, found.stderr
    printed, _, loaded = found.stdout.strip().rpartition("\n")
    assert loaded == "[]"
    assert json.loads(printed)["pending"][0].startswith("tokens/")
