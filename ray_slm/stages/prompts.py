"""What continuation needs besides checkpoints: prompts as items, and a vocoder per unit modality.

Prompts are utterances of a folder of items, so that every modality tokenizes them as it does its
training data: ``<id>.prompt`` and ``<id>.rest``, which is what really followed.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ray_slm import parquet
from ray_slm.corpora.audio import read_audio
from ray_slm.corpora.lexicon import pocketsphinx_pronunciations
from ray_slm.corpora.utterance import SAMPLE_RATE_HZ, read_utterances, write_utterances
from ray_slm.recipes import FitVocoder, PreparePrompts
from ray_slm.scheduling.stage import Stage
from ray_slm.stages.chain import hear, judged, open_chain
from ray_slm.stages.site import Site, made_with
from ray_slm.tasks.continuation import HELD_OUT_SPLIT, Prompt, choose_prompts
from ray_slm.tokens import TRAINING_SPLIT, TokenStore

PROMPTS = "prompts.parquet"
SPLIT = "items"


def make(stage: Stage, site: Site) -> None:
    """The prompts, or a vocoder."""
    if isinstance(stage.recipe, PreparePrompts):
        prepare_prompts(stage, site)
    else:
        fit_vocoder(stage, site)


def prepare_prompts(stage: Stage, site: Site) -> None:
    """Cut held-out utterances in two; hear and judge the recorded rests as they are."""
    from ray_slm.continuation.transcribe import word_errors

    recipe = stage.recipe
    assert isinstance(recipe, PreparePrompts)
    corpus, folder = _corpus(stage, site), _folder(stage, site)
    held_out = read_utterances(corpus, (HELD_OUT_SPLIT,))
    prompts = choose_prompts(held_out, pocketsphinx_pronunciations(), recipe.task)
    recorded = _write_items(prompts, corpus, folder, site)
    chain = open_chain(recipe.task, site)
    texts = [p.prompt.transcript for p in prompts]
    rests = [p.rest.transcript for p in prompts]
    heard = hear(chain, texts, recorded)
    true = judged(chain, texts, rests)
    rows = []
    for prompt, row, figures in zip(prompts, heard, true, strict=True):
        errors, words = word_errors(prompt.rest.transcript, str(row["transcript"]))
        about: dict[str, object] = {"prompt": prompt.id, "text": prompt.prompt.transcript}
        about |= {"rest": prompt.rest.transcript, "speaker": prompt.prompt.speaker}
        about |= {"prompt_seconds": float(prompt.prompt.duration)}
        written = {f"written_{name}": value for name, value in figures.items()}
        rows.append({**about, **row, "errors": errors, "words": words, **written})
    parquet.write_frame(folder / PROMPTS, pd.DataFrame(rows))
    sums = {name: sum(int(str(row[name])) for row in rows) for name in ("errors", "words")}
    summary: dict[str, object] = {"num_prompts": len(rows), **sums}
    site.store.commit(stage, summary=summary, made=made_with())


def fit_vocoder(stage: Stage, site: Site) -> None:
    """Fit units to the speech of one voice, on training utterances only; one thread."""
    import torch

    from ray_slm.continuation import vocoder

    recipe = stage.recipe
    assert isinstance(recipe, FitVocoder)
    torch.set_num_threads(1)
    corpus = _corpus(stage, site)
    store = TokenStore.open(site.store.path(stage.inputs["tokens"].address), TRAINING_SPLIT)
    place = {name: i for i, name in enumerate(store.ids)}
    spoken = {u.id: u for u in read_utterances(corpus, (TRAINING_SPLIT,)) if u.id in place}
    seconds: dict[str, dict[str, float]] = {}
    for utterance in spoken.values():
        seconds.setdefault(utterance.speaker, {})[utterance.id] = float(utterance.duration)
    chosen = vocoder.choose_training(seconds, recipe.vocoder.sample_minutes)

    def examples() -> Iterator[vocoder.Example]:
        for name in chosen:
            waveform_S = read_audio(corpus, spoken[name], site.places)
            yield vocoder.Example(np.array(store.tokens(place[name])), waveform_S)

    folder = _folder(stage, site)
    summary = vocoder.fit_vocoder(examples(), store.vocab_size, recipe.vocoder, folder)
    site.store.commit(stage, summary=summary, made=made_with())


def read_prompts(folder: Path) -> pd.DataFrame:
    """One row per prompt: prompt (id), text, rest, speaker, and how the recorded rest is heard."""
    return parquet.read_frame(folder / PROMPTS)


def _write_items(
    prompts: Sequence[Prompt], corpus: Path, folder: Path, site: Site
) -> list[np.ndarray]:
    """The table over one wave file, and small files for the page; the waveforms of the rests."""
    import soundfile

    from ray_slm.continuation.speech import write_mp3

    audio, start = "audio/shard-00000.wav", 0
    utterances, waveforms = [], []
    for part in (part for prompt in prompts for part in (prompt.prompt, prompt.rest)):
        waveforms.append(read_audio(corpus, part, site.places))
        utterances.append(dataclasses.replace(part, split=SPLIT, audio=audio, start=start))
        start += part.num_samples
        write_mp3(folder / "audio" / f"{part.id}.mp3", waveforms[-1])
    whole_S = np.concatenate(waveforms)
    soundfile.write(folder / audio, whole_S, SAMPLE_RATE_HZ, subtype="PCM_16")
    write_utterances(folder, 0, utterances)
    return waveforms[1::2]


def _corpus(stage: Stage, site: Site) -> Path:
    path: Path = site.store.path(stage.inputs["corpus"].address)
    return path


def _folder(stage: Stage, site: Site) -> Path:
    path: Path = site.store.path(stage.address)
    path.mkdir(parents=True, exist_ok=True)
    return path
