"""From a corpus to tokens through the stages, in this process: text, phones, speech and derived."""

import dataclasses

import numpy as np
import pytest

from ray_slm import recipes
from ray_slm.corpora.utterance import read_shard, shard_of, write_utterances
from ray_slm.errors import QuarantineLimitError, exit_code
from ray_slm.modalities import phone_raw, phone_repeat, text_bpe
from ray_slm.modalities.derived_units import DedupUnits, UnitBpe
from ray_slm.modalities.speech_units import SpeechUnits
from ray_slm.pace import read_pace
from ray_slm.scheduling.stage import Stage
from ray_slm.scheduling.store import Store
from ray_slm.scheduling.token_stages import token_stages
from ray_slm.stages import codebook, local
from ray_slm.stages import tokenize as verbs
from ray_slm.stages.site import Site
from ray_slm.tokens import TokenStore
from ray_slm.units.hubert import HubertLayer
from tests.modalities.conftest import make_speech, waveform
from tests.units.small_hubert import save_small

NUM_SHARDS = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tones:
    """Stands for the corpus that the fixture writes."""

    num_shards: int = NUM_SHARDS
    max_bad_fraction: float = 0.1


@pytest.fixture(scope="module")
def sha256(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hubert")
    return folder, save_small(folder)


@pytest.fixture
def made(tmp_path, sha256, places):
    """A site with a corpus of tones in it, the corpus stage and the units of a small HuBERT."""
    import soundfile

    folder, digest = sha256
    site = Site(Store(tmp_path), {**places, "small": folder})
    corpus = Stage(name="corpus/tones", recipe=recipes.PrepareCorpus(corpus=Tones()))
    root = site.store.path(corpus.address)
    (root / "audio").mkdir(parents=True)
    utterances = []
    for utterance in make_speech(90).utterances:
        path = f"audio/{utterance.id}.flac"
        soundfile.write(root / path, waveform(utterance), 16_000)
        utterances.append(dataclasses.replace(utterance, audio=path))
    for shard in range(NUM_SHARDS):
        chosen = [u for u in utterances if shard_of(u.id, NUM_SHARDS) == shard]
        write_utterances(root, shard, chosen)
    site.store.commit(corpus, summary={}, made="here")
    extractor = HubertLayer(checkpoint="small", layer=2, sha256=digest)
    units = SpeechUnits(extractor=extractor, num_units=8, sample_minutes=1, num_inits=1)
    return site, corpus, units


def run(stages, site):
    for stage in stages:
        if not site.store.has(stage.address):
            local.execute(stage, site)


def store_of(found, site):
    return TokenStore.open(site.store.path(found.tokens["corpus"].address), "train")


def test_runs_and_pieces_follow_from_the_units_of_the_same_store(made):
    site, corpus, units = made
    sources = {"corpus": corpus}
    raw = token_stages("units", units, sources, 0.0)
    dedup = token_stages("dedup", DedupUnits(source=units, source_name="units"), sources, 0.0)
    bpe = UnitBpe(source=units, source_name="units", vocab_size=30, sample_minutes=2)
    pieces = token_stages("pieces", bpe, sources, 0.0)
    for found in (raw, dedup, pieces):
        run(found.stages, site)
    full, runs, merged = (store_of(found, site) for found in (raw, dedup, pieces))
    assert full.ids == runs.ids == merged.ids
    for i in range(len(full)):
        np.testing.assert_array_equal(np.repeat(runs.tokens(i), runs.frames(i)), full.tokens(i))
        assert merged.frames(i).sum() == len(full.tokens(i))
    assert merged.num_tokens < runs.num_tokens < full.num_tokens
    phones = token_stages("phones", phone_repeat.MODALITY.stream, sources, 0.0)
    run(phones.stages, site)
    assert store_of(phones, site).lengths.tolist() == full.lengths.tolist()


def test_a_codebook_fitted_in_pieces_is_that_fitted_in_one_go(made, monkeypatch):
    site, corpus, units = made
    fit = token_stages("units", units, {"corpus": corpus}, 0.0).stages[0]
    monkeypatch.setattr(codebook, "PIECE_ROWS", 4)
    pieces = codebook.begin(fit, site)
    assert len(pieces) > 2
    encoder = units.extractor.load(site.places, "cpu")
    for piece in pieces[::-2]:
        codebook.encode_piece(fit, site, encoder, piece)
    left = codebook.begin(fit, site)
    assert sorted([*left, *pieces[::-2]]) == pieces
    for piece in left:
        codebook.encode_piece(fit, site, encoder, piece)
    codebook.finish(fit, site)
    (path,) = site.store.path(fit.address).glob("*.safetensors")
    summary = site.store.record(fit.address)["summary"]
    whole = site.store.root / "whole"
    expected = units.fit(
        verbs.training_tables(fit, site), verbs.waveform_reader(fit, site), whole, site.places
    )
    assert (whole / path.name).read_bytes() == path.read_bytes()
    assert summary == expected
    assert {"pnmi", "speaker_nmi", "usage_entropy"} <= summary.keys()


def without_alignment(root, num_utterances):
    for shard in range(NUM_SHARDS):
        found = read_shard(root, shard)
        chosen = {u.id for u in found[: num_utterances // NUM_SHARDS]}
        bare = [dataclasses.replace(u, phones=(), ends=()) if u.id in chosen else u for u in found]
        write_utterances(root, shard, bare)


def test_a_modality_may_refuse_as_much_of_a_corpus_as_the_corpus_tolerates(made):
    site, corpus, _ = made
    without_alignment(site.store.path(corpus.address), 9)
    stage = token_stages("phones", phone_raw.MODALITY.stream, {"corpus": corpus}, 0.0)
    run(stage.stages, site)
    (tokens,) = stage.stages
    assert site.store.record(tokens.address)["summary"]["quarantined"] == {"NO_PHONES": 9}


def test_a_modality_that_refuses_more_ends_with_exit_code_3_and_leaves_no_record(made):
    site, corpus, _ = made
    without_alignment(site.store.path(corpus.address), 12)
    (tokens,) = token_stages("phones", phone_raw.MODALITY.stream, {"corpus": corpus}, 0.0).stages
    for _ in range(2):  # running again changes nothing
        with pytest.raises(QuarantineLimitError, match=r"12 of 90 .* NO_PHONES, more") as error:
            run([tokens], site)
        assert exit_code(error.value) == 3
        assert not site.store.has(tokens.address)
    lines = (site.store.path(tokens.address) / "quarantine.jsonl").read_text().splitlines()
    assert len(lines) == 12


def test_a_killed_tokenizing_goes_on_with_what_it_lacks(made):
    site, corpus, _ = made
    stage = token_stages("text", text_bpe.TextBpe(vocab_size=120), {"corpus": corpus}, 0.0)
    fit, tokenize = stage.stages
    run([fit], site)
    tokenizer = verbs.load_tokenizer(tokenize, site)
    verbs.tokenize_one(tokenize, site, tokenizer, 1)
    assert verbs.missing_shards(tokenize, site) == [0, 2]
    pacer = verbs.pacer(tokenize, site, [0, 2])
    pace = read_pace(site.store.scratch(tokenize.address))
    seconds = verbs.tokenize_one(tokenize, site, tokenizer, 0).seconds
    pacer.add(seconds)
    assert pace.before > 0
    assert pace.total > pace.before + seconds
    with pytest.raises(AssertionError, match=r"lacks the shards \[2\]"):
        verbs.finish(tokenize, site, tokenizer.vocab_size)
    run([tokenize], site)
    assert len(store_of(stage, site)) == 90
