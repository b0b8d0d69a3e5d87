"""From a prepared corpus to the report: what a study with continuation leaves behind."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import soundfile

from ray_slm import recipes
from ray_slm.continuation.transcribe import plain_words
from ray_slm.corpora.utterance import read_utterances
from ray_slm.modalities.derived_units import DedupUnits
from ray_slm.modalities.modality import Modality
from ray_slm.scheduling.plan import plan
from ray_slm.scheduling.store import Store
from ray_slm.stages import local
from ray_slm.stages.report import collect
from ray_slm.stages.site import Site
from ray_slm.studies import smoke
from ray_slm.tasks.continuation import Continuation, UnitVocoder

NAMES = ("text-raw", "phone-repeat", "speech-whisper")
TASK = Continuation(
    num_prompts=2,
    num_samples=2,
    prompt_seconds=2.0,
    max_seconds=3.0,
    vocoder=UnitVocoder(steps=30, width=48, sample_minutes=2.0, phase_rounds=8),
)
SPEECH = next(m for m in smoke.STUDY.modalities if m.name == "speech-whisper")
DEDUP = Modality(
    name="speech-whisper-dedup",
    stream=DedupUnits(source=SPEECH.stream, source_name=SPEECH.name),
    nominal_tokens_per_second=22.0,
)
STUDY = dataclasses.replace(
    smoke.STUDY,
    name="continued",
    corpus=dataclasses.replace(smoke.STUDY.corpus, train_hours=0.05, dev_minutes=1.5),
    modalities=(*(m for m in smoke.STUDY.modalities if m.name in NAMES), DEDUP),
    checkpoint_hours=(0.0, 0.01),
    contrasts=(),
    continuation=TASK,
)


def upstream(stage):
    """A stage's inputs, before it, without repetition."""
    found = {}
    for artifact in stage.inputs.values():
        for one in [*upstream(artifact.stage), artifact.stage]:
            found[one.address] = one
    return [*found.values()]


@pytest.fixture(scope="module")
def stages():
    return {stage.name: stage for stage in plan(STUDY)}


@pytest.fixture(scope="module")
def site(stages, places, tmp_path_factory):
    made = Site(Store(tmp_path_factory.mktemp("continued")), places)
    for name, stage in stages.items():
        if name.startswith("continue/"):
            for one in [*upstream(stage), stage]:
                if not made.store.has(one.address):
                    local.execute(one, made)
    return made


@pytest.fixture(scope="module")
def samples(stages, site):
    return {
        name.split("/")[1]: pd.read_parquet(site.store.path(stage.address) / "samples.parquet")
        for name, stage in stages.items()
        if name.startswith("continue/")
    }


def test_only_the_last_checkpoint_is_continued(stages):
    continued = [name for name in stages if name.startswith("continue/")]
    assert len(continued) == 4
    for name in continued:
        modality, _, tokens, _ = name.split("/")[1:]
        assert int(tokens) == max(stages[f"train/{modality}/seed-0"].recipe.checkpoints)
    assert [name for name in stages if name.startswith("vocoder/")] == ["vocoder/speech-whisper"]


def test_prompts_and_rests_are_items_of_their_own(stages, site):
    folder = site.store.path(stages["prompts/continuation"].address)
    parts = {u.id: u for u in read_utterances(folder)}
    prompts = pd.read_parquet(folder / "prompts.parquet")
    assert {f"{p}.{part}" for p in prompts["prompt"] for part in ("prompt", "rest")} == set(parts)
    assert {u.split for u in parts.values()} == {"items"}
    for row in prompts.itertuples():
        assert parts[f"{row.prompt}.prompt"].transcript == row.text
        assert row.errors <= row.words
        clip, rate = soundfile.read(folder / "audio" / f"{row.prompt}.rest.mp3")
        assert rate == 16_000
        assert len(clip) == pytest.approx(parts[f"{row.prompt}.rest"].num_samples, abs=4_000)


def test_every_prompt_has_every_sample_and_what_really_followed(samples):
    for modality, frame in samples.items():
        counts = frame.groupby(["prompt", "kind"]).size().unstack()
        assert (counts["generated"] == 2).all(), modality
        assert (counts["recorded"] == 1).all(), modality
        made = frame[frame["kind"] == "generated"]
        rate = {"text-raw": 25, "phone-repeat": 51}.get(modality, 51)
        assert made["num_tokens"].max() <= 3.0 * rate
        assert made["ended"].sum() < len(made) or made["num_tokens"].max() < 3.0 * rate


def test_units_without_durations_last_about_as_long_as_they_do_in_speech(samples):
    """And share the vocoder of the units they are made of."""
    dedup, whole = (
        frame[frame["kind"] == "recorded"].set_index("prompt")["seconds"]
        for frame in (samples["speech-whisper-dedup"], samples["speech-whisper"])
    )
    assert (dedup / whole).between(0.6, 1.6).all()
    assert (dedup != whole).any()


def test_the_chain_understands_real_text_and_phones(samples):
    """A wrong order of phones, a wrong cut or wrong durations would leave nothing of the words."""
    for modality, most in (("text-raw", 0.25), ("phone-repeat", 0.5)):
        real = samples[modality].query("kind == 'recorded'")
        assert real["errors"].sum() / real["words"].sum() <= most, modality


def test_50_hz_phones_last_as_long_as_they_did(samples):
    real = samples["phone-repeat"].query("kind == 'recorded'")
    frames = real["num_tokens"].to_numpy() * 0.02
    assert np.abs(real["seconds"].to_numpy() - frames).max() < 0.2


def test_what_has_words_has_a_perplexity_and_sound(stages, site, samples):
    for modality, frame in samples.items():
        heard = frame["transcript"].map(plain_words) != ""
        assert (heard == (frame["judge_tokens"] > 0)).all()
        assert (frame.loc[heard, "nats"] > 0).all()
        assert (frame["whole_tokens"] >= frame["judge_tokens"]).all()
        (name,) = [n for n in stages if n.startswith(f"continue/{modality}/")]
        folder = site.store.path(stages[name].address) / "audio"
        assert len(list(folder.glob("*.mp3"))) == (frame["seconds"] > 0).sum()


def test_a_second_time_gives_the_same_bytes(stages, site, samples):
    (name,) = [n for n in stages if n.startswith("continue/speech-whisper/")]
    record = site.store.record(stages[name].address)
    again = Site(Store(site.store.root), site.places)
    local.execute(stages[name], again)
    assert site.store.record(stages[name].address)["files"] == record["files"]


def test_the_report_has_the_table_and_every_sample(stages, site):
    report = stages["report/continued"]
    found = collect(report, site.store)
    assert set(found.continuation["modality"]) == {*NAMES, DEDUP.name}
    assert len(found.samples) == 4 * 2 * 3
    heard = found.samples[found.samples["audio"] != ""]
    assert len(heard) > 9
    assert set(heard["audio"]) <= set(found.clips)
    assert set(found.prompts["rest_audio"]) <= set(found.clips)


def test_a_user_may_bring_a_vocoder_and_then_none_is_fitted():
    from ray_slm.tasks.continuation import ExportedVocoder

    own = dataclasses.replace(TASK, vocoder=ExportedVocoder(place="mine", sha256="0" * 64))
    changed = plan(dataclasses.replace(STUDY, continuation=own))
    assert not [s for s in changed if isinstance(s.recipe, recipes.FitVocoder)]


def test_without_continuation_nothing_has_another_address(stages):
    without = plan(dataclasses.replace(STUDY, continuation=None))
    for stage in without:
        if not stage.name.startswith("report/"):
            assert stages[stage.name].address == stage.address
