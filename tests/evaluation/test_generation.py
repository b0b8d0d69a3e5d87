"""Sampling with a cache: the model's own distribution, whoever shares the batch."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import LlamaForCausalLM, LogitsProcessor, LogitsProcessorList
from transformers.generation.logits_process import TopPLogitsWarper

from ray_slm.evaluation.generation import CHUNK, choose, continue_prompts
from ray_slm.training.model import initialized, llama_config
from ray_slm.training.scale import Scale

SCALE = Scale(name="tiny", layers=3, heads=4, kv_heads=2, width=32, ffn=64, window=512)
VOCAB = 40
LENGTHS = (3, 1, 0, 70, 64, 63, 11, 140)


@pytest.fixture(scope="module")
def model():
    made = initialized(SCALE, VOCAB, seed=3)
    with torch.no_grad():  # an untrained model is nearly uniform: sharpen it, so that EOS comes too
        made.lm_head.weight.mul_(12)
    return made.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def prompts():
    rng = np.random.default_rng(0)
    return [rng.integers(0, VOCAB, n).astype(np.uint16) for n in LENGTHS]


@pytest.fixture(scope="module")
def reference(model):
    found = LlamaForCausalLM(llama_config(SCALE, VOCAB)).eval()
    found.load_state_dict(model.state_dict())
    return found


class SameDraws(LogitsProcessor):
    """Forces ``generate`` to take, from its own logits, what our rule takes with these numbers."""

    def __init__(self, seed, num_new, top_p):
        self.draws, self.step = np.random.default_rng(seed).random(num_new), 0
        self.top_p = top_p

    def __call__(self, input_ids, scores):
        scores = scores.clone()
        scores[:, VOCAB] = -torch.inf
        scores[:, VOCAB + 2 :] = -torch.inf
        draw = torch.tensor([self.draws[self.step]], dtype=torch.float64)
        taken = choose(scores, draw, self.top_p, 1.0)
        self.step += 1
        return torch.full_like(scores, -torch.inf).index_fill(1, taken, 0.0)


@pytest.mark.parametrize("top_p", [0.9, 1.0, 1e-9])
def test_the_tokens_are_those_of_generate_under_the_same_numbers(model, reference, prompts, top_p):
    seeds = range(100, 100 + len(prompts))
    ours = continue_prompts(model, prompts, seeds, vocab_size=VOCAB, max_new=40, top_p=top_p)
    for prompt, seed, found in zip(prompts, seeds, ours, strict=True):
        ids = torch.tensor([[VOCAB, *prompt.tolist()]])
        made = reference.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=40,
            logits_processor=LogitsProcessorList([SameDraws(seed, 40, top_p)]),
        )[0, ids.shape[1] :].tolist()
        ended = made[-1] == VOCAB + 1
        assert found.ids_T.tolist() == (made[:-1] if ended else made)
        assert found.ended == ended
    if top_p == 0.9:
        assert {found.ended for found in ours} == {True, False}


def test_a_sample_does_not_depend_on_its_neighbors(model, prompts):
    options = {"vocab_size": VOCAB, "max_new": 60, "rows": 8}
    seeds = [7 * i for i in range(len(prompts))]
    together = continue_prompts(model, prompts, seeds, **options)
    backwards = continue_prompts(model, prompts[::-1], seeds[::-1], **options)[::-1]
    for i, found in enumerate(together):
        (alone,) = continue_prompts(model, [prompts[i]], [seeds[i]], **options)
        for other in (alone, backwards[i]):
            assert np.array_equal(other.ids_T, found.ids_T)
            assert other.ended == found.ended


def test_another_seed_gives_another_continuation(model, prompts):
    twice = [prompts[0]] * 2
    first, second = continue_prompts(model, twice, [1, 2], vocab_size=VOCAB, max_new=40)
    assert not np.array_equal(first.ids_T, second.ids_T)


def test_frequencies_of_the_first_token_are_the_models(model, reference):
    prompt = np.array([5, 9], dtype=np.uint16)
    logits = reference(torch.tensor([[VOCAB, 5, 9]])).logits[0, -1].detach().double()
    logits[VOCAB] = -torch.inf
    logits[VOCAB + 2 :] = -torch.inf
    exact = torch.softmax(TopPLogitsWarper(0.8)(None, logits[None] / 4)[0], -1).numpy()
    number = 4000
    options = {"vocab_size": VOCAB, "max_new": 1, "top_p": 0.8, "temperature": 4.0, "rows": 500}
    found = continue_prompts(model, [prompt] * number, range(number), **options)
    first = [int(f.ids_T[0]) if len(f.ids_T) else VOCAB + 1 for f in found]
    counts = np.bincount(first, minlength=len(exact))
    assert counts[exact == 0].sum() == 0
    inside = exact > 0
    assert inside.sum() > 5
    chi = ((counts - number * exact)[inside] ** 2 / (number * exact[inside])).sum()
    assert chi < inside.sum() + 4 * np.sqrt(2 * inside.sum())


@settings(deadline=None)
@given(seed=st.integers(0, 10_000), top_p=st.floats(0.01, 1.0), heat=st.floats(0.3, 3.0))
def test_the_nucleus_is_that_of_transformers(seed, top_p, heat):
    torch.manual_seed(seed)
    logits = 3 * torch.randn(1, 20, dtype=torch.float64)
    allowed = TopPLogitsWarper(top_p)(None, logits / heat)[0].isfinite()
    probabilities = torch.softmax(logits[0] / heat, 0)
    on_the_edge = (probabilities.sort(descending=True)[0].cumsum(0) - top_p).abs().min() < 1e-12
    draws = torch.linspace(0, 1 - 1e-12, 2001, dtype=torch.float64)
    chosen = choose(logits.expand(len(draws), -1), draws, top_p, heat)
    reachable = {int(i) for i in chosen}
    assert bool(on_the_edge) or all(bool(allowed[i]) for i in reachable)
    share = probabilities * allowed / (probabilities * allowed).sum()
    assert reachable >= {i for i in range(20) if share[i] > 1e-3}


def test_nothing_ends_beyond_the_limit(model, prompts):
    found = continue_prompts(model, prompts, range(8), vocab_size=VOCAB, max_new=5)
    assert all(len(f.ids_T) <= 5 and (f.ended or len(f.ids_T) == 5) for f in found)


def test_half_precision_is_offered(model, prompts):
    found = continue_prompts(
        model, prompts[:2], [1, 2], vocab_size=VOCAB, max_new=CHUNK, precision="bf16"
    )
    assert all(int(f.ids_T.max(initial=0)) < VOCAB for f in found)


@pytest.mark.parametrize(
    ("ids", "seeds", "words"),
    [
        ([VOCAB], [1], "the vocabulary ends at 39"),
        ([1] * 480, [1], "exceed the model's 512"),
        ([1], [1, 2], "pass one seed for each"),
    ],
)
def test_what_cannot_be_continued_is_refused(model, ids, seeds, words):
    prompt = np.array(ids, dtype=np.uint16)
    with pytest.raises(ValueError, match=words):
        continue_prompts(model, [prompt], seeds, vocab_size=VOCAB, max_new=40)
