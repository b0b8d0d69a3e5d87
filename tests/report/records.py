"""The records of a study that never ran: its store filled with scores that look like a study's.

Items, voices and layers are as many as the laptop study has; models learn with the tokens, each
modality up to a skill of its own, and seeds differ.
"""

import dataclasses
import json

import numpy as np
import pandas as pd

from ray_slm import parquet
from ray_slm.scheduling.plan import plan
from ray_slm.stages.evaluate import SCORES
from ray_slm.studies import laptop

PAIRS = {"swuggy": (300, 300), "sblimp": (304, 60), "topic-storycloze": (60, 60)}  # and clusters
SKILLS = (1.6, 1.5, 1.5, 1.4, 0.8, 0.2)  # of modalities in the paper's order, in logits
NUM_UTTERANCES, SECONDS = 2500, 15_120.0
TASK_SKILLS = {"swuggy": 1.0, "sblimp": 0.7, "topic-storycloze": 0.4}


def study_of(num_seeds, num_checkpoints):
    """The laptop study with more seeds and checkpoints, and nothing continued."""
    hours = (0.0, *np.geomspace(0.25, 8.0, num_checkpoints - 1).round(4).tolist())
    return dataclasses.replace(
        laptop.STUDY, seeds=(*range(num_seeds),), checkpoint_hours=hours, continuation=None
    )


def write_records(study, store):
    """Commit made-up items, runs and evaluations, and records that count tokens."""
    skills = dict(zip((m.name for m in laptop.MODALITIES), SKILLS, strict=True))
    rates = {m.name: m.nominal_tokens_per_second for m in study.modalities}
    for stage in plan(study):
        kind, *rest = stage.name.split("/")
        summary = {}
        if kind == "corpus":
            summary = {"splits": {"train": {"utterances": NUM_UTTERANCES}}}
        elif kind == "tokens":
            counts = {"num_tokens": round(rates[rest[0]] * SECONDS), "seconds": SECONDS}
            split = {"num_utterances": NUM_UTTERANCES, "ids_sha256": "", **counts}
            summary = {"vocab_size": 500, "splits": {"train": split}}
        elif kind == "items":
            parquet.write_frame(store.path(stage.address) / "pairs.parquet", pairs_of(rest[0]))
        elif kind == "train":
            folder = store.path(stage.address)
            folder.mkdir(parents=True, exist_ok=True)
            lines = [json.dumps(_loss(count)) for count in stage.recipe.checkpoints]
            (folder / "validation.jsonl").write_text("\n".join(lines))
        elif kind == "evaluate":
            modality, _, tokens, task = rest
            learned = skills[modality] * TASK_SKILLS[task] * np.log1p(int(tokens) / 3e4) / 3
            frame = scores_of(task, learned, int(stage.address[-6:], 16), study)
            parquet.write_frame(store.path(stage.address) / SCORES, frame)
        else:
            continue
        store.path(stage.address).mkdir(parents=True, exist_ok=True)
        store.commit(stage, summary=summary, made={})


def pairs_of(task):
    """The pairs of a task, as its items hold them."""
    num_pairs, num_clusters = PAIRS[task]
    names = [f"{task}-{i:04d}" for i in range(num_pairs)]
    clusters = [f"cluster-{i % num_clusters}" for i in range(num_pairs)]
    bands = [("1-4", "5-20", ">20")[i % 3] if task == "swuggy" else "" for i in range(num_pairs)]
    kinds = {"type": "made up", "subtype": "made up", "cluster": clusters, "band": bands}
    return pd.DataFrame({"id": names, "positive": names, "negative": names, **kinds})


def scores_of(task, skill, seed, study):
    """Scores of every item in every voice at every layer; the last layers know the skill."""
    rng = np.random.default_rng(seed)
    num_pairs, layers = PAIRS[task][0], np.arange(study.scale.layers + 1)
    sides, voices = ("negative", "positive"), study.item_voices
    names = [f"{n}.{s}.{v}" for n in pairs_of(task)["id"] for s in sides for v in voices]
    num_tokens = np.repeat(rng.integers(4, 40, num_pairs), len(sides) * len(voices))
    gain = skill * layers / layers[-1] / 1.7
    sign = np.tile(np.repeat((-0.5, 0.5), len(voices)), num_pairs)
    noise = rng.logistic(0, 0.25, (len(names), len(layers)))
    per_token = -4 + sign[:, None] * gain + noise
    return pd.DataFrame(
        {
            "utterance": np.repeat(names, len(layers)),
            "layer": np.tile(layers.astype(np.int32), len(names)),
            "logp_sum": (per_token * num_tokens[:, None]).ravel(),
            "logp_first": rng.normal(-4, 1, per_token.size),
            "logp_eos": rng.normal(-2, 1, per_token.size),
            "num_tokens": np.repeat(num_tokens, len(layers)).astype(np.int32),
            "seconds": np.repeat(num_tokens / 12.5, len(layers)),
        }
    )


def _loss(tokens):
    nats = 2.0 + 3.0 * (1 + tokens / 3e4) ** -0.4
    return {"tokens": tokens, "nats_per_token": nats, "bits_per_second": 60 * nats}
