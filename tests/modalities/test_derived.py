"""Runs of units and acoustic BPE: what they keep, and how they stand in a plan."""

import dataclasses
import itertools

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ray_slm.modalities import speech_hubert, speech_hubert_bpe, speech_hubert_dedup
from ray_slm.modalities.derived_units import DedupUnits, UnitBpe
from ray_slm.scheduling.plan import plan
from ray_slm.studies import smoke
from tests.modalities.conftest import parts

NUM_UNITS = 12
UNITS = st.lists(st.integers(0, NUM_UNITS - 1), min_size=1, max_size=60)
SOURCE = dataclasses.replace(speech_hubert.STREAM, num_units=NUM_UNITS)


def table(rows):
    units = pa.array(rows, pa.large_list(pa.uint16()))
    ids = [f"u{i:04d}" for i in range(len(rows))]
    columns = {"id": ids, "split": ["train"] * len(rows), "num_samples": [400] * len(rows)}
    return pa.table({**columns, "units": units})


@pytest.fixture(scope="module")
def bpe(tmp_path_factory):
    rng = np.random.default_rng(0)
    words = [rng.integers(0, NUM_UNITS, 5) for _ in range(9)]
    rows = [np.repeat(np.concatenate([words[i] for i in rng.integers(0, 9, 12)]), 2).tolist()]
    rows += [np.repeat(words[i % 9], 3).tolist() for i in range(60)]
    stream = UnitBpe(source=SOURCE, source_name="units", vocab_size=40)
    folder = tmp_path_factory.mktemp("bpe")
    assert stream.fit([table(rows)], None, folder, {})["vocab_size"] == 40
    return stream.load(folder, {})


@given(rows=st.lists(UNITS, min_size=1, max_size=5))
def test_a_run_is_a_token_and_its_frames_give_the_units_back(rows):
    tokenizer = DedupUnits(source=SOURCE, source_name="units").load(None, {})
    found = tokenizer.tokenize(table(rows), None)
    assert tokenizer.vocab_size == NUM_UNITS
    tokens, frames = (parts(flat, found.lengths_B) for flat in (found.flat_T, found.frames_T))
    for row, ids, runs in zip(rows, tokens, frames, strict=True):
        assert ids.tolist() == [unit for unit, _ in itertools.groupby(row)]
        assert np.repeat(ids, runs).tolist() == row


@settings(max_examples=50)
@given(rows=st.lists(UNITS, min_size=1, max_size=5))
def test_pieces_hold_the_runs_and_all_their_frames(bpe, rows):
    found = bpe.tokenize(table(rows), None)
    tokens, frames = (parts(flat, found.lengths_B) for flat in (found.flat_T, found.frames_T))
    for row, ids, frames_of_ids in zip(rows, tokens, frames, strict=True):
        assert bpe.decode(ids).units_R.tolist() == [unit for unit, _ in itertools.groupby(row)]
        runs = [len(list(group)) for _, group in itertools.groupby(row)]
        sizes = bpe.decode(ids).runs_T.tolist()
        bounds = np.cumsum([0, *sizes])
        assert frames_of_ids.tolist() == [
            sum(runs[a:b]) for a, b in itertools.pairwise(bounds.tolist())
        ]


def test_pieces_are_fewer_than_runs_where_units_repeat_themselves(bpe):
    word = [3, 1, 4, 1, 5]
    rows = table([word])
    assert bpe.vocab_size == 40
    assert len(bpe.tokenize(rows, None).flat_T) <= len(word)


def study(*modalities):
    return dataclasses.replace(smoke.STUDY, modalities=modalities, contrasts=())


def addresses(*modalities):
    return {stage.name: stage.address for stage in plan(study(*modalities))}


HUBERT = speech_hubert.MODALITY
DEDUP, BPE = speech_hubert_dedup.MODALITY, speech_hubert_bpe.MODALITY


def test_audio_is_encoded_once_for_all_three_whoever_is_in_the_study():
    alone, together = addresses(DEDUP), addresses(HUBERT, DEDUP, BPE)
    shared = alone.keys() & together.keys() - {"report/smoke"}
    assert {alone[name] for name in shared} == {together[name] for name in shared}
    assert "tokens/speech-hubert/laptop" in shared
    assert "train/speech-hubert/seed-0" not in alone
    encoders = [name for name in together if name.startswith("vocabulary/")]
    assert sorted(encoders) == ["vocabulary/speech-hubert", "vocabulary/speech-hubert-bpe"]


def test_a_derived_store_waits_for_the_units_and_reports_only_itself():
    stages = {stage.name: stage for stage in plan(study(DEDUP))}
    inputs = stages["tokens/speech-hubert-dedup/laptop"].inputs
    assert inputs["units"].stage is stages["tokens/speech-hubert/laptop"]
    reported = [name for name in stages["report/smoke"].inputs if name.startswith("tokens/")]
    assert reported
    assert all(name.startswith("tokens/speech-hubert-dedup/") for name in reported)


def test_two_different_units_of_one_name_are_refused():
    other = dataclasses.replace(HUBERT, stream=dataclasses.replace(HUBERT.stream, num_units=500))
    with pytest.raises(ValueError, match="vocabulary/speech-hubert would be made in two ways"):
        plan(study(other, DEDUP))
