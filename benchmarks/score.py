"""How fast minimal pairs are scored, beside what public scorers do with the same weights.

Words, sentence pairs of this project's grammar and stories with two endings, each as pieces of
words, characters and 50 Hz frames, scored by one thread in fp32: ``fixed`` in batches of 64 in file
order, padded to the longest, ``sorted`` in length-sorted batches of 64, both through Hugging Face's
forward, and ours.  Decisions must be the same.  bf16 is ours too; its flips are counted.  The
contenders take turns; a figure is the mean over tasks and forms of ratios of medians.
"""

import argparse
import json
import random
import time
import zlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from transformers import LlamaForCausalLM

from ray_slm.evaluation.likelihood import score
from ray_slm.tasks.grammar import expand, load_grammar
from ray_slm.training.model import initialized, llama_config
from ray_slm.training.scale import Scale

SCALE = Scale(name="benchmark", layers=4, heads=4, kv_heads=2, width=256, ffn=704, window=2048)
ROUNDS = 3
FIXED_BATCH = 64
CONTENDERS = ("fixed", "sorted", "ours", "ours, all layers", "ours, bf16")
TIES = 1e-5  # a mean log-probability closer than this is not a decision but rounding


class Suite(NamedTuple):
    """One form of the items; positive and negative take turns."""

    name: str
    vocab_size: int
    sequences: list[np.ndarray]


def sentence_pairs(num_per_template: int) -> list[str]:
    """Both sides of pairs, one after the other, over all words of the grammar."""
    grammar = load_grammar()
    words = {w.lower() for each in grammar.lists.values() for x in each.lexemes for w in x}
    texts = []
    for paradigm in grammar.paradigms:
        fixed = {w for t in paradigm.templates for w in t.replace("|", " ").lower().split()}
        for template in paradigm.templates:
            for pair in expand(template, grammar, words | fixed, num_per_template, template):
                texts += [pair.good, pair.bad]
    return texts


def story_pairs(sentences: Sequence[str], num_pairs: int) -> list[str]:
    """Four sentences with one ending and with another."""
    dice = random.Random(0)
    texts = []
    for _ in range(num_pairs):
        *told, one, other = dice.sample(sentences[::2], 6)
        texts += [" ".join([*told, one]), " ".join([*told, other])]
    return texts


def pieces(text: str) -> np.ndarray:
    """About 1.3 ids per word, of 2,048."""
    found = []
    for word in text.split():
        cut = (word[:5], word[5:]) if len(word) > 6 else (word,)
        found += [zlib.crc32(part.encode()) % 2048 for part in cut]
    return np.array(found, dtype=np.uint16)


def characters(text: str) -> np.ndarray:
    """One id per character, of 78."""
    return np.array([ord(c) % 78 for c in text], dtype=np.uint16)


def frames(text: str) -> np.ndarray:
    """Runs of 2 to 5 equal ids per letter, of 500; as in speech, no two readings are alike."""
    rng = np.random.default_rng(zlib.crc32(text.encode()))
    letters = np.array([7 * (ord(c) % 71) for c in text], dtype=np.uint16)
    noise = rng.integers(0, 3, len(letters))
    return np.repeat(letters + noise.astype(np.uint16), rng.integers(2, 5, len(letters)))


def word_pairs(sentences: Sequence[str]) -> list[str]:
    """Words of the sentences, each followed by itself with two letters exchanged."""
    words = sorted({w.strip(".,?!").lower() for text in sentences for w in text.split()})
    pairs = [(w, w[:2] + w[3] + w[2] + w[4:]) for w in words if len(w) > 4]
    return [word for pair in pairs for word in pair]


def suites(num_per_template: int, num_stories: int) -> list[Suite]:
    """Three tasks in three forms; of the longest form a part, as it costs the most."""
    sentences = shuffled_pairs(sentence_pairs(num_per_template))
    tasks = {
        "words": shuffled_pairs(word_pairs(sentences)),
        "sentences": sentences,
        "stories": story_pairs(sentences, num_stories),
    }
    made = []
    for task, texts in tasks.items():
        part = texts[: max(2 * num_stories, 2 * (len(texts) // 8))]
        made += [
            Suite(f"{task}, pieces", 2048, [pieces(t) for t in texts]),
            Suite(f"{task}, characters", 78, [characters(t) for t in texts]),
            Suite(f"{task}, 50 Hz", 500, [frames(t) for t in part]),
        ]
    return made


def shuffled_pairs(texts: Sequence[str]) -> list[str]:
    """The pairs in another order: files are not sorted by length."""
    pairs = [texts[i : i + 2] for i in range(0, len(texts), 2)]
    random.Random(1).shuffle(pairs)
    return [text for pair in pairs for text in pair]


def hugging_face(model: LlamaForCausalLM, suite: Suite, *, by_length: bool) -> np.ndarray:
    """Mean log-probability of each sequence, as public scorers get it."""
    found = np.empty(len(suite.sequences))
    order = range(len(suite.sequences))
    if by_length:
        order = sorted(order, key=lambda i: len(suite.sequences[i]))
    for start in range(0, len(order), FIXED_BATCH):
        taken = list(order[start : start + FIXED_BATCH])
        sizes = [len(suite.sequences[i]) for i in taken]
        ids = torch.full((len(taken), max(sizes) + 1), suite.vocab_size + 2)
        mask = torch.zeros_like(ids)
        ids[:, 0] = suite.vocab_size
        for row, i in enumerate(taken):
            ids[row, 1 : sizes[row] + 1] = torch.as_tensor(suite.sequences[i].astype(np.int64))
            mask[row, : sizes[row] + 1] = 1
        logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, :-1]
        logits[..., suite.vocab_size] = -torch.inf
        logits[..., suite.vocab_size + 2 :] = -torch.inf
        loss = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1).float(), ids[:, 1:].flatten(), reduction="none"
        ).view(len(taken), -1)
        real = mask[:, 1:].bool()
        sums = torch.where(real, -loss, 0.0).double().sum(-1)
        found[taken] = (sums / real.sum(-1)).numpy()
    return found


def contenders(suite: Suite) -> dict[str, Callable[[], np.ndarray]]:
    """By name: a function that gives each sequence's mean log-probability."""
    lean = initialized(SCALE, suite.vocab_size, seed=0)
    with torch.no_grad():
        lean.lm_head.weight.mul_(4)  # away from uniform, so that decisions mean something
    lean = lean.requires_grad_(False).eval()
    reference = LlamaForCausalLM(llama_config(SCALE, suite.vocab_size)).eval()
    reference.load_state_dict(lean.state_dict())

    def ours(**options: str) -> np.ndarray:
        made = score(lean, suite.sequences, vocab_size=suite.vocab_size, **options)
        return made.logp_sum_NL[:, -1] / made.num_tokens_N

    return {
        "fixed": lambda: hugging_face(reference, suite, by_length=False),
        "sorted": lambda: hugging_face(reference, suite, by_length=True),
        "ours": lambda: ours(layers="final"),
        "ours, all layers": lambda: ours(layers="all"),
        "ours, bf16": lambda: ours(layers="final", precision="bf16"),
    }


def flips(one: np.ndarray, other: np.ndarray) -> int:
    """Pairs that are decided differently; differences within rounding are no decision."""
    margins = one[::2] - one[1::2], other[::2] - other[1::2]
    settled = np.minimum(*(np.abs(m) for m in margins)) > TIES
    return int((settled & (np.sign(margins[0]) != np.sign(margins[1]))).sum())


def measure(suite: Suite) -> tuple[dict[str, float], dict[str, int]]:
    """Median seconds of each contender, and flips against the fixed batches."""
    runs = contenders(suite)
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    scores: dict[str, np.ndarray] = {}
    with torch.inference_mode():
        for _ in range(ROUNDS):
            for name, run in runs.items():
                start = time.process_time()
                scores[name] = run()
                seconds[name].append(time.process_time() - start)
    medians = {name: float(np.median(taken)) for name, taken in seconds.items()}
    return medians, {name: flips(scores["fixed"], scores[name]) for name in runs}


def main() -> None:
    """Print a table, or the figures alone as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print the figures alone")
    parser.add_argument("--quick", action="store_true", help="fewer items")
    options = parser.parse_args()
    torch.set_num_threads(1)
    made = suites(*((1, 16) if options.quick else (3, 48)))
    total, flipped = dict.fromkeys(CONTENDERS, 0.0), dict.fromkeys(CONTENDERS, 0)
    if not options.json:
        print(f"{'':<24}{'pairs':>6}{'tokens':>9}  pairs/s: " + "  ".join(CONTENDERS))
    for suite in made:
        seconds, changed = measure(suite)
        num_pairs = len(suite.sequences) // 2
        for name in CONTENDERS:
            total[name] += seconds[name] / seconds["ours"]
            flipped[name] += changed[name]
        if not options.json:
            rates = "".join(f"{num_pairs / seconds[name]:>10.1f}" for name in CONTENDERS)
            tokens = sum(map(len, suite.sequences))
            print(f"{suite.name:<24}{num_pairs:>6}{tokens:>9}  {rates}  flips {changed}")
    assert not any(flipped[name] for name in CONTENDERS[:4]), f"fp32 decisions differ: {flipped}"
    figures = {
        "vs_fixed_padded": total["fixed"] / len(made),
        "vs_hf_sorted_batches": total["sorted"] / len(made),
        "all_layers_cost": total["ours, all layers"] / len(made),
        "bf16_speedup": len(made) / total["ours, bf16"],
        "bf16_flips": flipped["ours, bf16"] / sum(len(s.sequences) // 2 for s in made),
    }
    print(json.dumps({"figures": {name: round(x, 4) for name, x in figures.items()}}))


if __name__ == "__main__":
    main()
