"""Every form of the manifests and every format of the alignment give the same tokens."""

import dataclasses
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from ray_slm import recipes
from ray_slm.corpora.corpus import prepare_all
from ray_slm.corpora.inventory import STRESSED_ARPABET, Inventory
from ray_slm.corpora.libriheavy_shape import ALIGNMENTS, FORMS, shaped_corpus
from ray_slm.corpora.shape_alignments import framed, kaldi_frames, positioned
from ray_slm.corpora.text import normalize_text
from ray_slm.corpora.utterance import (
    Utterance,
    num_shards,
    read_tables,
    read_utterances,
    shard_of,
    write_utterances,
)
from ray_slm.modalities import phone_bpe, phone_raw, phone_repeat, text_bpe, text_raw
from ray_slm.modalities.modality import Form
from ray_slm.modalities.phone_raw import PhoneRaw
from ray_slm.modalities.phone_repeat import PhoneRepeat
from ray_slm.modalities.speech_units import SpeechUnits
from ray_slm.scheduling.stage import Stage
from ray_slm.scheduling.store import Store
from ray_slm.scheduling.token_stages import token_stages
from ray_slm.stages import local
from ray_slm.stages.site import Site, made_with
from ray_slm.studies import smoke
from ray_slm.units.hubert import HubertLayer
from tests.units.small_hubert import save_small

SPEECH = "speech-hubert"
HEARD_WITH = "ctm"  # what is heard hangs on no alignment, and encoding takes seconds
COMPARED = ("split", "speaker", "book", "transcript", "audio", "start", "num_samples", "phones")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Truth:
    """Stands in for a corpus whose utterances are known: its stage is committed by hand."""

    name: str = "truth"


class Speech(NamedTuple):
    """A small HuBERT and the streams of a study of six modalities."""

    hubert: Path
    streams: dict


@pytest.fixture(scope="module")
def speech(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hubert")
    extractor = HubertLayer(checkpoint="small", layer=2, sha256=save_small(folder))
    streams = {
        "text-bpe": text_bpe.TextBpe(vocab_size=120),
        "text-raw": text_raw.MODALITY.stream,
        "phone-bpe": phone_bpe.PhoneBpe(vocab_size=120),
        "phone-raw": phone_raw.MODALITY.stream,
        "phone-repeat": phone_repeat.MODALITY.stream,
        SPEECH: SpeechUnits(extractor=extractor, num_units=8, sample_minutes=1, num_inits=1),
    }
    return Speech(folder, streams)


def tokens_of(corpus, store, places, speech, names):
    """{modality: {file: sha256}} of the token stores of a prepared corpus."""
    found, site = {}, Site(store, {**places, "small": speech.hubert})
    for name in names:
        stages = token_stages(name, speech.streams[name], {"corpus": corpus}, 0.0)
        for stage in stages.stages:
            local.execute(stage, site)
        files = store.record(stages.tokens["corpus"].address)["files"]
        found[name] = {file: facts["sha256"] for file, facts in files.items()}
        assert sum(file.endswith(".bin") for file in files) >= 2, "train and dev"
    return found


@pytest.fixture(scope="module")
def true_tokens(shape, speech, tmp_path_factory):
    """The tokens of what the builder knows, without any reader."""
    store = Store(tmp_path_factory.mktemp("truth"))
    stage = Stage(name="corpus/truth", recipe=Truth(), inputs={})
    folder = store.path(stage.address)
    corpus = shaped_corpus(shape).corpus
    by_shard = {shard: [] for shard in range(corpus.num_shards)}
    for utterance in shape.truth:
        by_shard[shard_of(utterance.id, corpus.num_shards)].append(utterance)
    for shard, utterances in by_shard.items():
        write_utterances(folder, shard, utterances)
    (folder / "corpus.json").write_text("{}")
    store.commit(stage, summary={}, made=made_with())
    return tokens_of(stage, store, {"librilight": shape.audio}, speech, speech.streams)


def sorted_by_id(utterances):
    return sorted(utterances, key=lambda one: one.id)


def prepared(shape, form, alignment, root):
    """(stage, store, places) of a reader's corpus, prepared by the stage itself."""
    corpus, at = shaped_corpus(shape, form, alignment)
    store = Store(root)
    stage = Stage(name="corpus/shape", recipe=recipes.PrepareCorpus(corpus=corpus), inputs={})
    local.execute(stage, Site(store, at))
    return stage, store, at


@pytest.mark.parametrize("alignment", ALIGNMENTS)
def test_every_alignment_format_gives_the_same_tokens(
    shape, speech, true_tokens, alignment, tmp_path
):
    stage, store, at = prepared(shape, "raw", alignment, tmp_path)
    names = [name for name in speech.streams if name != SPEECH or alignment == HEARD_WITH]
    assert tokens_of(stage, store, at, speech, names) == {n: true_tokens[n] for n in names}
    heard = [[getattr(u, name) for name in COMPARED] for u in sorted_by_id(shape.truth)]
    found = sorted_by_id(read_utterances(store.path(stage.address)))
    assert [[getattr(u, name) for name in COMPARED] for u in found] == heard
    summary = store.record(stage.address)["summary"]
    assert summary["candidates"] == summary["utterances"] == len(shape.truth)
    assert summary["quarantined"] == {}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_the_manifests_gives_the_same_utterances(shape, form, tmp_path):
    corpus, at = shaped_corpus(shape, form, "ctm")
    prepare_all(corpus, tmp_path, at)
    found = {u.id: u for u in read_utterances(tmp_path)}
    assert found.keys() == {u.id for u in shape.truth}
    for true in shape.truth:
        expected = {name: getattr(true, name) for name in COMPARED}
        if form == "upper_no_punc":
            expected["transcript"] = normalize_text(true.transcript)
        assert {name: getattr(found[true.id], name) for name in COMPARED} == expected


def test_the_recognizers_text_is_that_of_raw_manifests_alone(shape, tmp_path):
    for form in ("raw", "cases_and_punc"):
        corpus, at = shaped_corpus(shape, form, "ctm")
        asr = dataclasses.replace(corpus, transcript="asr", normalizer="upper", max_bad_fraction=1)
        if form == "raw":
            prepare_all(asr, tmp_path / form, at)
            found = {u.id: u.transcript for u in read_utterances(tmp_path / form)}
            assert found == {u.id: normalize_text(u.transcript) for u in shape.truth}
        else:
            with pytest.raises(ValueError, match="no utterance came of"):
                prepare_all(asr, tmp_path / form, at)
            line = json.loads((tmp_path / form / "quarantine.jsonl").read_text().splitlines()[0])
            assert (line["reason"], line["detail"]) == (
                "TEXT_MISSING",
                "an extracted manifest has no recognizer's text",
            )


def test_a_third_of_the_utterances_end_without_silence_and_neighbors_may_be_equal(shape):
    last = [u.phones[-1] for u in shape.truth]
    assert 0 < last.count("SIL") < len(last)
    assert positioned(("SIL", "S", "S", "IY1", "SIL")) == ["SIL", "S_B", "S_I", "IY1_E", "SIL"]


def test_the_grid_keeps_every_phone_and_kaldis_length():
    row = framed("a", ("AA1", "B", "SIL"), (10, 20, 4000), 4000)
    assert row.frames == (1, 1, kaldi_frames(4000) - 2)
    assert kaldi_frames(4000) == 23


def test_the_manifest_is_split_by_subset_and_shards_by_hash(shape, tmp_path):
    corpus, at = shaped_corpus(shape)
    summary = prepare_all(corpus, tmp_path, at)
    assert num_shards(tmp_path) == 4
    assert set(summary["splits"]) == {"train", "dev"}
    lines = {name: facts["lines"] for name, facts in summary["read"].items() if "lines" in facts}
    assert sum(lines.values()) == len(shape.truth)
    assert set(lines) >= {"manifest:small", "manifest:dev"}


def test_audio_is_read_where_it_lies(shape, tmp_path):
    corpus, at = shaped_corpus(shape)
    prepare_all(corpus, tmp_path, at)
    found: list[Utterance] = list(read_utterances(tmp_path))
    assert all(u.audio.startswith("librilight:") and u.audio.endswith(".flac") for u in found)
    assert not (tmp_path / "audio").exists()


def test_another_inventory_is_that_of_corpus_and_tokens_alike(shape, tmp_path):
    own = Inventory(phones=("pau", *STRESSED_ARPABET.phones[:-2], "SIL", "SPN"))
    corpus, at = shaped_corpus(shape)
    corpus = dataclasses.replace(corpus, inventory=own)
    prepare_all(corpus, tmp_path, at)
    tables = list(read_tables(tmp_path, Form.PHONES.columns, "train"))
    for stream in (PhoneRaw(), PhoneRepeat()):
        theirs = dataclasses.replace(stream, inventory=own).load(None, {})
        default = stream.load(None, {})
        assert (theirs.vocab_size, default.vocab_size) == (72, 71)
        for table in tables:
            ids, moved = (each.tokenize(table, None).flat_T for each in (default, theirs))
            assert np.array_equal(ids + 1, moved)
            assert theirs.decode(moved) == default.decode(ids)
    with pytest.raises(ValueError, match="'phone-raw' reads another phone inventory"):
        dataclasses.replace(smoke.STUDY, corpus=corpus)
