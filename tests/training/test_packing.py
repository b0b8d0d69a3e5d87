import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ray_slm.training import objective, packing
from ray_slm.training.model import initialized, llama_config

CPU = torch.device("cpu")


def pack_all(documents, window, vocab_size=20):
    return objective.rows_of(documents, np.arange(len(documents)), window, vocab_size)


@settings(deadline=None)
@given(st.lists(st.integers(1, 64), min_size=1, max_size=40))
def test_first_fit_decreasing_packs_everything_within_the_capacity(sizes):
    bins = packing.first_fit_decreasing(sizes, 64)
    assert sorted(i for members in bins for i in members) == list(range(len(sizes)))
    assert all(sum(sizes[i] for i in members) <= 64 for members in bins)
    half_empty = [members for members in bins if sum(sizes[i] for i in members) <= 32]
    assert len(half_empty) <= 1


@settings(deadline=None)
@given(st.lists(st.integers(1, 300), min_size=1, max_size=20), st.sampled_from([64, 128, 2048]))
def test_rows_hold_the_longest_piece_and_never_exceed_the_window(lengths, window):
    lengths = [min(n, window) for n in lengths]
    num_columns = packing.row_length(lengths, window)
    assert max(lengths) <= num_columns <= window
    assert num_columns % 64 == 0


@settings(deadline=None)
@given(st.integers(1, 12), st.integers(1, 150), st.integers(0, 99))
def test_every_target_is_predicted_once_after_what_precedes_it(count, longest, salt):
    from tests.training.conftest import InMemory

    documents = InMemory(f"salt{salt}", count, longest=longest)
    rows = pack_all(documents, window=64)
    seen = []
    for part in packing.microbatches(rows, 128):
        real = part.targets_BT != packing.IGNORED
        assert (real == (part.document_BT != packing.PADDING_DOCUMENT)).all()
        seen += list(zip(part.ids_BT[real], part.targets_BT[real], strict=True))
    expected = []
    for index in range(count):
        stream = [20, *documents.tokens(index).tolist(), 21]
        expected += itertools.pairwise(stream)
    assert sorted(seen) == sorted(expected)
    assert len(seen) == packing.num_targets(documents.lengths).sum()


def test_positions_restart_with_every_document():
    from tests.training.conftest import InMemory

    rows = pack_all(InMemory("x", 8, longest=20), window=64)
    for row in range(len(rows.ids_BT)):
        for number in range(rows.document_BT[row].max() + 1):
            inside = rows.document_BT[row] == number
            assert rows.positions_BT[row][inside].tolist() == list(range(inside.sum()))
            assert rows.ids_BT[row][inside][0] == 20


def test_long_documents_are_cut_and_no_token_is_lost(documents):
    long = documents("long", 1, shortest=150, longest=150)
    pieces = packing.pieces(np.array([0]), long.lengths, 64)
    assert [(p.start, p.length) for p in pieces] == [(0, 64), (64, 64), (128, 23)]
    assert (pack_all(long, 64).targets_BT != packing.IGNORED).sum() == 151


def test_little_is_spent_on_padding(documents):
    many = documents("many", 64, shortest=10, longest=300)
    parts = list(packing.microbatches(pack_all(many, 2048), 2048))
    slots = sum(part.ids_BT.size for part in parts)
    assert packing.num_targets(many.lengths).sum() / slots > 0.9


def test_micro_batches_keep_to_the_budget(documents):
    rows = pack_all(documents("many", 40, longest=60), 64)
    sizes = [part.ids_BT.size for part in packing.microbatches(rows, 256)]
    assert max(sizes) <= 256
    assert [p.ids_BT.shape[0] for p in packing.microbatches(rows, 1)] == [1] * len(rows.ids_BT)


def test_a_foreign_token_id_is_refused_by_name(documents):
    with pytest.raises(ValueError, match=r"'few-000\d' holds the token id 1\d.*has 10 units"):
        pack_all(documents("few", 3, shortest=20, longest=30), 64, vocab_size=10)


def test_packed_rows_give_the_loss_and_gradients_of_hugging_faces_padded_ones(documents, run):
    from transformers import LlamaForCausalLM

    batch = documents("some", 12, longest=60)
    num_tokens = int(packing.num_targets(batch.lengths).sum())
    ours = initialized(run().scale, 20, seed=1)
    reference = LlamaForCausalLM(llama_config(run().scale, 20))
    reference.load_state_dict(ours.state_dict())

    packed_loss = 0.0
    for part in packing.microbatches(pack_all(batch, 64), 128):
        losses = objective.token_losses(ours, objective.on_device(part, CPU), 20)
        (losses.sum() / num_tokens).backward()
        packed_loss += losses.detach().sum().item() / num_tokens

    ids, targets = torch.full((12, 61), 22), torch.full((12, 61), packing.IGNORED)
    for row, index in enumerate(range(12)):
        stream = torch.tensor([20, *batch.tokens(index).tolist(), 21])
        ids[row, : len(stream) - 1], targets[row, : len(stream) - 1] = stream[:-1], stream[1:]
    logits = reference(input_ids=ids, attention_mask=(targets != packing.IGNORED).long()).logits
    possible = torch.cat([logits[..., :20], logits[..., 21:22]], -1)
    targets[targets == 21] = 20
    loss = torch.nn.functional.cross_entropy(possible.flatten(0, 1), targets.flatten())
    loss.backward()

    assert packed_loss == pytest.approx(loss.item(), abs=1e-6)
    theirs = dict(reference.named_parameters())
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, theirs[name].grad, atol=1e-6, rtol=1e-5)
