import weakref

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    LlamaForCausalLM,
    OPTConfig,
)

from ray_slm.evaluation.batches import deduplicated, plan_rows
from ray_slm.evaluation.hugging_face import HuggingFaceModel
from ray_slm.evaluation.layers import load_model, specials_of
from ray_slm.evaluation.likelihood import score, score_frame
from ray_slm.training.model import initialized, llama_config
from ray_slm.training.scale import Scale

V = 20
SCALE = Scale(name="tiny", layers=3, heads=4, kv_heads=2, width=32, ffn=48, window=64)
torch.set_num_threads(1)


@pytest.fixture(scope="module")
def lean():
    model = initialized(SCALE, V, seed=0)
    with torch.no_grad():
        for weight in (model.model.embed_tokens.weight, model.lm_head.weight):
            weight.mul_(4)  # far from uniform, so that mistakes show
    return model.requires_grad_(False).eval()


@pytest.fixture(scope="module")
def reference(lean):
    model = LlamaForCausalLM(llama_config(SCALE, V))
    model.load_state_dict(lean.state_dict())
    return model.eval()


@pytest.fixture(scope="module", params=["lean", "huggingface"])
def model(request, lean, reference):
    return lean if request.param == "lean" else HuggingFaceModel(reference)


def random_sequences(num, longest=40, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, V, rng.integers(1, longest)).astype(np.uint16) for _ in range(num)]


def brute_force(reference, ids, normed=True):
    """S, F, E per layer from Hugging Face's own forward: one sequence, no padding, float64."""
    row = torch.tensor([[V, *ids.tolist()]])
    caught = []
    hook = reference.model.norm.register_forward_pre_hook(lambda _m, x: caught.append(x[0]))
    with torch.no_grad():
        out = reference(input_ids=row, output_hidden_states=True)
        hook.remove()
        states = [*out.hidden_states[:-1], caught[0]]
        logits = [reference.lm_head(reference.model.norm(h) if normed else h) for h in states]
    if normed:
        torch.testing.assert_close(logits[-1], out.logits)
    targets = [*ids.tolist(), V + 1]
    parts = []
    for layer in logits:
        outcomes = torch.cat([layer[0, :, :V], layer[0, :, V + 1 : V + 2]], -1).double()
        logp = outcomes.log_softmax(-1)
        picked = [logp[i, min(u, V)].item() for i, u in enumerate(targets)]
        parts.append((sum(picked[:-1]), picked[0], picked[-1]))
    return np.array(parts)


def stacked(table):
    return np.stack([table.logp_sum_NL, table.logp_first_NL, table.logp_eos_NL], -1)


@pytest.mark.parametrize("normed", [True, False])
def test_scores_equal_brute_force_at_every_layer(model, reference, normed):
    sequences = random_sequences(25)
    table = score(model, sequences, vocab_size=V, token_budget=128, normed=normed)
    assert table.layers == (0, 1, 2, 3)
    for found, ids in zip(stacked(table), sequences, strict=True):
        np.testing.assert_allclose(found, brute_force(reference, ids, normed), rtol=1e-5, atol=1e-4)
    np.testing.assert_array_equal(table.num_tokens_N, [len(ids) for ids in sequences])


def test_the_final_layer_alone_is_the_last_of_all_layers(model):
    sequences = random_sequences(12)
    every = score(model, sequences, vocab_size=V)
    final = score(model, sequences, vocab_size=V, layers="final")
    assert final.layers == (3,)
    np.testing.assert_array_equal(stacked(final)[:, 0], stacked(every)[:, -1])


ROWS = st.lists(
    st.lists(st.integers(0, 3), min_size=1, max_size=50), min_size=1, max_size=20
)  # few units: many begin alike


@settings(max_examples=25, deadline=None)
@given(ROWS)
def test_a_sequence_in_its_own_row_has_the_same_bits_in_any_company(lean, rows):
    sequences = [np.array(row, dtype=np.uint16) for row in rows]
    together = stacked(score(lean, sequences, vocab_size=V, share_prefixes=False))
    for place, ids in enumerate(sequences):
        alone = stacked(score(lean, [ids], vocab_size=V))
        np.testing.assert_array_equal(alone[0], together[place])


@settings(max_examples=25, deadline=None)
@given(ROWS)
def test_shared_beginnings_change_no_score_beyond_rounding(lean, rows):
    sequences = [np.array(row, dtype=np.uint16) for row in rows]
    together = stacked(score(lean, sequences, vocab_size=V))
    apart = stacked(score(lean, sequences, vocab_size=V, share_prefixes=False))
    np.testing.assert_allclose(together, apart, rtol=2e-6, atol=2e-5)


def test_shared_beginnings_equal_brute_force(lean, reference):
    begun = [np.r_[:8], np.r_[:8, 3, 2], np.r_[:8, 3, 9], np.r_[:4, 7], np.r_[:4, 7], np.r_[9, :5]]
    sequences = [ids.astype(np.uint16) for ids in begun]
    (rows,) = [plan_rows(deduplicated(sequences)[0], shared=True)]
    assert max(len(row.members) for row in rows) == 5
    for found, ids in zip(stacked(score(lean, sequences, vocab_size=V)), sequences, strict=True):
        np.testing.assert_allclose(found, brute_force(reference, ids), rtol=1e-5, atol=1e-4)


def test_a_story_with_two_endings_is_computed_once_up_to_its_end(lean):
    story = random_sequences(1, 2)[0].repeat(30)
    endings = [np.append(story, np.arange(k, k + 5)).astype(np.uint16) for k in (0, 5)]
    unique, _ = deduplicated(endings)
    assert [row.num_columns for row in plan_rows(unique, shared=True)] == [1 + 30 + 5 + 5]
    assert len(plan_rows(unique, shared=False)) == 2


def test_a_model_that_reads_no_branches_gets_a_row_per_sequence(reference):
    sequences = [np.r_[:8].astype(np.uint16), np.r_[:7].astype(np.uint16)]
    found = stacked(score(HuggingFaceModel(reference), sequences, vocab_size=V))
    for scores, ids in zip(found, sequences, strict=True):
        np.testing.assert_allclose(scores, brute_force(reference, ids), rtol=1e-5, atol=1e-4)


def test_the_token_budget_changes_nothing_that_matters(lean):
    sequences = random_sequences(40)
    small, large = (
        stacked(score(lean, sequences, vocab_size=V, token_budget=b)) for b in (1, 4096)
    )
    np.testing.assert_allclose(small, large, rtol=1e-6, atol=1e-6)


def test_units_and_the_end_are_the_only_outcomes(lean):
    """For a context s: the chances of every next unit and of the end sum to 1, at each layer."""
    context = np.array([3, 1, 4], dtype=np.uint16)
    grown = [np.append(context, np.uint16(unit)) for unit in range(V)]
    table = score(lean, [context, *grown], vocab_size=V)
    next_unit = np.exp(table.logp_sum_NL[1:] - table.logp_sum_NL[0]).sum(0)
    np.testing.assert_allclose(next_unit + np.exp(table.logp_eos_NL[0]), 1.0, atol=1e-5)


class Watched:
    """A real model that notes what is asked of its head and how many logits live at once."""

    def __init__(self, model):
        self.model, self.num_layers, self.max_tokens = model, model.num_layers, model.max_tokens
        self.device, self.reads_branches = model.device, model.reads_branches
        self.alive, self.most_alive, self.num_rows = 0, 0, 0

    def hidden(self, ids, positions, document):
        self.num_rows += len(ids)
        return self.model.hidden(ids, positions, document)

    def final_norm(self, hidden):
        return self.model.final_norm(hidden)

    def head(self, normed):
        logits = self.model.head(normed)
        self.alive += 1
        self.most_alive = max(self.most_alive, self.alive)
        weakref.finalize(logits, self._gone)
        return logits

    def _gone(self):
        self.alive -= 1


def test_identical_sequences_are_scored_once(lean):
    ids = np.arange(15, dtype=np.uint16)
    watched = Watched(lean)
    table = score(watched, [ids] * 500 + [ids[:14]] * 500, vocab_size=V)
    assert table.num_unique == 2
    assert watched.num_rows < 20
    assert len(np.unique(table.logp_sum_NL[:500], axis=0)) == 1
    assert table.logp_sum_NL[0, -1] != table.logp_sum_NL[-1, -1]


def test_one_layer_of_logits_lives_at_a_time(lean):
    watched = Watched(lean)
    score(watched, random_sequences(10), vocab_size=V)
    assert watched.most_alive == 1


def test_bf16_decides_almost_as_fp32(lean):
    sequences = random_sequences(200, seed=5)
    full, half = (
        score(lean, sequences, vocab_size=V, layers="final", precision=p) for p in ("fp32", "bf16")
    )
    signs = [
        np.sign(np.diff((t.logp_sum_NL[:, 0] / t.num_tokens_N).reshape(-1, 2)))
        for t in (full, half)
    ]
    assert (signs[0] == signs[1]).mean() > 0.9
    assert (full.logp_sum_NL != half.logp_sum_NL).any()


@pytest.mark.parametrize(
    ("ids", "message"),
    [([], "sequence 1 is empty"), ([V], "id 20"), ([1] * 64, "64 units")],
)
def test_impossible_sequences_are_refused_by_place(lean, ids, message):
    with pytest.raises(ValueError, match=message):
        score(lean, [np.array([1], np.uint16), np.array(ids, np.uint16)], vocab_size=V)


def test_an_unknown_precision_is_refused(lean):
    with pytest.raises(ValueError, match="fp16"):
        score(lean, random_sequences(1), vocab_size=V, precision="fp16")


def test_the_frame_has_a_row_per_utterance_and_layer(lean):
    sequences = random_sequences(3)
    table = score(lean, sequences, vocab_size=V)
    frame = score_frame(table, ["a", "b", "c"], [1.0, 2.0, 3.0])
    assert len(frame) == 12
    row = frame[(frame["utterance"] == "b") & (frame["layer"] == 2)].iloc[0]
    assert row["logp_sum"] == table.logp_sum_NL[1, 2]
    assert row["logp_eos"] == table.logp_eos_NL[1, 2]
    assert (row["num_tokens"], row["seconds"]) == (len(sequences[1]), 2.0)
    kinds = frame.dtypes.astype(str).to_dict()
    assert (kinds["layer"], kinds["num_tokens"], kinds["logp_sum"]) == ("int32", "int32", "float64")
    with pytest.raises(ValueError, match="3 scores, 2 utterances"):
        score_frame(table, ["a", "b"], [1.0, 2.0])


def test_both_implementations_open_the_same_folder(reference, tmp_path):
    reference.save_pretrained(tmp_path)
    sequences = random_sequences(8)
    lean, hugging_face = (
        score(load_model(tmp_path, implementation=name), sequences, vocab_size=V)
        for name in ("lean", "huggingface")
    )
    np.testing.assert_allclose(stacked(lean), stacked(hugging_face), rtol=1e-5, atol=1e-4)


def test_a_folder_that_is_no_checkpoint_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"no config\.json"):
        load_model(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "opt"}')
    with pytest.raises(ValueError, match="'opt'"):
        load_model(tmp_path, implementation="lean")
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match="cannot be opened by transformers"):
        load_model(tmp_path)


def other_models():
    shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    ids = {"vocab_size": 24, "bos_token_id": 20, "eos_token_id": 21, "pad_token_id": 22}
    llama = {"intermediate_size": 32, "max_position_embeddings": 64, "tie_word_embeddings": True}
    yield LlamaConfig(**shape, **llama, **ids)
    yield OPTConfig(ffn_dim=32, max_position_embeddings=64, word_embed_proj_dim=16, **shape, **ids)
    yield GPT2Config(n_embd=16, n_layer=2, n_head=2, n_positions=64, **ids)
    yield GPTNeoXConfig(**shape, **(llama | {"tie_word_embeddings": False}), **ids)


@pytest.mark.parametrize("config", [*other_models()], ids=lambda c: c.model_type)
def test_models_of_other_families_are_scored_as_they_score_themselves(config, tmp_path):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    model.save_pretrained(tmp_path)
    ours = load_model(tmp_path)
    specials = specials_of(tmp_path, V)
    assert (specials.bos, specials.eos) == (20, 21)
    sequences = random_sequences(9)
    table = score(ours, sequences, vocab_size=V, specials=specials)
    assert table.layers == (0, 1, 2)
    for place, ids in enumerate(sequences):
        row = torch.tensor([[20, *ids.tolist()]])
        with torch.no_grad():
            logits = model(input_ids=row).logits[0].double()
        outcomes = torch.cat([logits[:, :V], logits[:, 21:22]], -1).log_softmax(-1)
        picked = [outcomes[i, u].item() for i, u in enumerate([*ids.tolist(), V])]
        np.testing.assert_allclose(table.logp_sum_NL[place, -1], sum(picked[:-1]), rtol=1e-4)
        np.testing.assert_allclose(table.logp_eos_NL[place, -1], picked[-1], rtol=1e-4)


def test_a_model_whose_layers_do_not_give_its_logits_is_refused():
    shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 24}
    capped = Gemma2Config(
        **shape,
        num_key_value_heads=1,
        intermediate_size=32,
        head_dim=8,
        final_logit_softcapping=0.1,
    )
    with pytest.raises(ValueError, match="'gemma2' model cannot be read"):
        HuggingFaceModel(AutoModelForCausalLM.from_config(capped).eval())


def test_a_model_without_bos_begins_with_its_end(tmp_path):
    (tmp_path / "config.json").write_text('{"vocab_size": 30, "eos_token_id": [7, 8]}')
    assert specials_of(tmp_path, 20) == (7, 7, 7)
    with pytest.raises(ValueError, match="30 ids"):
        specials_of(tmp_path, 31)
    (tmp_path / "config.json").write_text('{"vocab_size": 30}')
    with pytest.raises(ValueError, match="no eos_token_id"):
        specials_of(tmp_path, 20)
