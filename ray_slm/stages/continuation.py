"""Continue the prompts at one checkpoint, and hear and judge what comes out.

What really followed a prompt goes through the same chain, from tokens on: its word errors and
its perplexity say what the chain itself costs a modality.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ray_slm import parquet
from ray_slm.continuation.lasting import mean_frames
from ray_slm.continuation.speech import (
    Said,
    Say,
    say_phones,
    say_runs,
    say_text,
    say_units,
    write_mp3,
)
from ray_slm.continuation.transcribe import word_errors
from ray_slm.continuation.vocoder import Vocoder, open_vocoder
from ray_slm.corpora.alignment import frame_count
from ray_slm.corpora.utterance import SAMPLE_RATE_HZ
from ray_slm.evaluation.generation import continue_prompts
from ray_slm.modalities.modality import Form
from ray_slm.recipes import Evaluate, PreparePrompts, Tokenize
from ray_slm.scheduling.stage import Stage
from ray_slm.stages import tokenize
from ray_slm.stages.chain import hear, judged, open_chain
from ray_slm.stages.prompts import SPLIT, read_prompts
from ray_slm.stages.site import Site, made_with
from ray_slm.tasks.continuation import Continuation, sample_seed
from ray_slm.tokens import TRAINING_SPLIT, TokenStore
from ray_slm.training.model import Llama

SAMPLES = "samples.parquet"
GENERATED, RECORDED = "generated", "recorded"
KEYS = ("prompt", "kind", "sample", "ended")


class Units(NamedTuple):
    """One row of the table to come: whose continuation, and its units."""

    prompt: str
    kind: str
    sample: int
    ids_T: np.ndarray
    ended: bool


def continue_at(stage: Stage, site: Site, model: Llama) -> None:
    """Sample, speak, hear and judge; commit ``samples.parquet`` and a small file per sample.

    Prompts that the modality could not tokenize are named in the record's summary.
    """
    store = TokenStore.open(site.store.path(stage.inputs["tokens"].address), SPLIT)
    prompts = read_prompts(site.store.path(stage.inputs["items"].address))
    known = [{f"{p}.prompt", f"{p}.rest"} <= set(store.ids) for p in prompts["prompt"]]
    lost = [p for p, whole in zip(prompts["prompt"], known, strict=True) if not whole]
    prompts = prompts[known]
    rows = _units(stage, model, store, [*prompts["prompt"]])
    say = speaker(stage, site, store)
    said = [say(row.ids_T) for row in rows]
    frame = pd.DataFrame(
        {
            **{name: [getattr(row, name) for row in rows] for name in KEYS},
            "num_tokens": [len(row.ids_T) for row in rows],
            "seconds": [len(one.waveform_S) / SAMPLE_RATE_HZ for one in said],
            "written": [one.written for one in said],
        }
    )
    frame = _heard(frame, prompts, said, _task(stage), site)
    folder: Path = site.store.path(stage.address)
    folder.mkdir(parents=True, exist_ok=True)
    for row, one in zip(rows, said, strict=True):
        if len(one.waveform_S):
            write_mp3(folder / audio_file(row.prompt, row.kind, row.sample), one.waveform_S)
    parquet.write_frame(folder / SAMPLES, frame)
    site.store.commit(stage, summary=_summary(frame, lost), made=made_with())


def audio_file(prompt: str, kind: str, sample: int) -> str:
    """Where a stage's folder keeps a sample that can be heard."""
    return f"audio/{prompt}.{kind}-{sample}.mp3"


def _units(stage: Stage, model: Llama, store: TokenStore, prompts: Sequence[str]) -> list[Units]:
    """What really followed each prompt, then every sample."""
    recipe, task = stage.recipe, _task(stage)
    assert isinstance(recipe, Evaluate)
    place = {name: i for i, name in enumerate(store.ids)}
    cells = [(prompt, number) for prompt in prompts for number in range(task.num_samples)]
    found = continue_prompts(
        model,
        [np.array(store.tokens(place[f"{prompt}.prompt"])) for prompt, _ in cells],
        [sample_seed(task, prompt, number) for prompt, number in cells],
        vocab_size=store.vocab_size,
        max_new=max_new(task, store),
        top_p=task.top_p,
        temperature=task.temperature,
        precision=recipe.precision,
    )
    rests = [np.array(store.tokens(place[f"{prompt}.rest"])) for prompt in prompts]
    recorded = [Units(p, RECORDED, 0, ids, True) for p, ids in zip(prompts, rests, strict=True)]
    return recorded + [
        Units(prompt, GENERATED, number, *one)
        for (prompt, number), one in zip(cells, found, strict=True)
    ]


def max_new(task: Continuation, store: TokenStore) -> int:
    """Tokens in ``max_seconds``, at the rate that the modality has on these utterances."""
    return max(1, round(task.max_seconds * store.num_tokens / float(store.seconds)))


def speaker(stage: Stage, site: Site, store: TokenStore) -> Say:
    """How the units of the stage's modality are made audible.  Raises ValueError when they cannot.

    Units are of 20 ms each where every utterance has as many as its audio has frames.
    """
    tokens, task = stage.inputs["tokens"].stage, _task(stage)
    assert isinstance(tokens.recipe, Tokenize)
    form = tokens.recipe.stream.form
    at_50_hz = store.lengths.tolist() == [frame_count(int(n)) for n in store.num_samples]
    if form is Form.AUDIO:
        if not at_50_hz:
            raise ValueError(f"{tokens.name}: units without durations cannot be made audible")
        return say_units(_vocoder(stage, site))
    tokenizer: Any = tokenize.load_tokenizer(tokens, site)
    if form is Form.UNITS:
        trained_on = site.store.path(stage.inputs["lasting"].address)
        frames_V = mean_frames(TokenStore.open(trained_on, TRAINING_SPLIT))
        return say_runs(_vocoder(stage, site), tokenizer.decode, frames_V)
    if form is Form.TEXT:
        return say_text(tokenizer.decode, task.voice)
    return say_phones(tokenizer.decode, task.voice, at_50_hz=at_50_hz)


def _vocoder(stage: Stage, site: Site) -> Vocoder:
    """That of the stage's inputs, or the user's."""
    fitted = stage.inputs.get("vocoder")
    folder = site.store.path(fitted.address) if fitted else None
    return open_vocoder(_task(stage).vocoder, folder, site.places)


def _task(stage: Stage) -> Continuation:
    recipe = stage.inputs["items"].stage.recipe
    assert isinstance(recipe, PreparePrompts)
    return recipe.task


def _heard(
    frame: pd.DataFrame, prompts: pd.DataFrame, said: Sequence[Said], task: Continuation, site: Site
) -> pd.DataFrame:
    """With transcripts, the judge's figures, word errors of what was recorded, and, where the
    modality writes, the figures of what it wrote itself."""
    chain = open_chain(task, site)
    text = dict(zip(prompts["prompt"], prompts["text"], strict=True))
    rest = dict(zip(prompts["prompt"], prompts["rest"], strict=True))
    texts = [text[name] for name in frame["prompt"]]
    heard = pd.DataFrame(hear(chain, texts, [one.waveform_S for one in said]))
    errors = [
        word_errors(rest[row.prompt], transcript) if row.kind == RECORDED else (0, 0)
        for row, transcript in zip(frame.itertuples(), heard["transcript"], strict=True)
    ]
    heard["errors"], heard["words"] = zip(*errors, strict=True)
    if frame["written"].astype(bool).any():
        own = pd.DataFrame(judged(chain, texts, [one.written for one in said]))
        heard = heard.join(own.add_prefix("written_"))
    return frame.join(heard)


def _summary(frame: pd.DataFrame, lost: Sequence[str]) -> dict[str, object]:
    made = frame[frame["kind"] == GENERATED]
    logs = made["nats"] / made["judge_tokens"].where(made["judge_tokens"] > 0)
    metrics = {
        "continuation/log_perplexity": float(logs.groupby(made["prompt"]).mean().mean()),
        "continuation/empty": float((made["judge_tokens"] == 0).mean()),
    }
    recorded = frame[frame["kind"] == RECORDED]
    sums = {name: int(recorded[name].sum()) for name in ("errors", "words")}
    return {"num_samples": len(made), "lost_prompts": list(lost), **sums, "metrics": metrics}
