"""The log-probability a language model gives to each item, at its last layer or at every layer.

Stored are the parts from which every scoring convention follows.  A sequence in a row of its own
gets the same bits whatever its neighbors are; one that shares a beginning with others is computed
in longer sums, equal within rounding.
Legend: N sequences, L scored layers, B rows of a batch, T tokens, D width, V units, G predictions.
"""

import contextlib
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
import torch

from ray_slm.evaluation.batches import Batch, Specials, batches, deduplicated, plan_rows
from ray_slm.evaluation.layers import LayeredModel

Precision = Literal["fp32", "bf16"]
Layers = Literal["all", "final"]


class ScoreTable(NamedTuple):
    """Scores in the order of the sequences given; identical sequences were scored once.

    ``logp_sum`` is the sum of log p(u_i | BOS, u_<i), i = 1..num_tokens, without the end;
    ``logp_first`` its first term; ``logp_eos`` is log p(EOS | BOS, u_1..u_num_tokens).
    """

    layers: tuple[int, ...]  # 0 = embedding .. model.num_layers = the model itself
    logp_sum_NL: np.ndarray  # float64, natural logarithms
    logp_first_NL: np.ndarray
    logp_eos_NL: np.ndarray
    num_tokens_N: np.ndarray  # int32
    num_unique: int


def score(
    model: LayeredModel,
    sequences: Sequence[np.ndarray],
    *,
    vocab_size: int,
    layers: Layers = "all",
    token_budget: int = 1024,
    precision: Precision = "fp32",
    normed: bool = True,
    share_prefixes: bool = True,
    specials: Specials | None = None,
) -> ScoreTable:
    """Score sequences of unit ids (uint16, without specials) under BOS.

    Outcomes are the units and EOS, at every layer; all else is masked before normalizing.  With
    ``normed=False`` layers are read without the final norm.  ``share_prefixes`` computes common
    beginnings once where the model reads branches.  ``specials`` follow the units by default.

    Raises:
        ValueError: for an empty sequence, an id outside the vocabulary, or one too long.
    """
    _refuse_bad(sequences, vocab_size, model.max_tokens)
    unique, inverse = deduplicated(sequences)
    wanted = tuple(range(model.num_layers + 1)) if layers == "all" else (model.num_layers,)
    parts_ULK = np.full((len(unique), len(wanted), 3), np.nan)
    specials = specials or Specials(vocab_size, vocab_size + 1, vocab_size + 2)
    impossible = _impossible(specials, vocab_size)
    rows = plan_rows(unique, shared=share_prefixes and model.reads_branches)
    filled = model.device.type != "cpu"
    with torch.inference_mode(), _autocast(model.device, precision):
        for batch in batches(unique, rows, specials, token_budget, filled=filled):
            parts_ULK[batch.members] = _score_batch(model, batch, impossible, wanted, normed)
    lengths_N = np.array([len(ids) for ids in sequences], dtype=np.int32)
    sum_NL, first_NL, eos_NL = np.moveaxis(parts_ULK[inverse], -1, 0)
    return ScoreTable(wanted, sum_NL, first_NL, eos_NL, lengths_N, len(unique))


def score_frame(
    table: ScoreTable, utterances: Sequence[str], seconds: Sequence[float]
) -> pd.DataFrame:
    """The table as rows of ``scores.parquet``, one per utterance and layer.

    Columns: utterance (str), layer (int32), logp_sum, logp_first, logp_eos (float64),
    num_tokens (int32), seconds (float64).  Raises ValueError when the lengths differ.
    """
    num_items, num_layers = table.logp_sum_NL.shape
    if not num_items == len(utterances) == len(seconds):
        raise ValueError(
            f"{num_items} scores, {len(utterances)} utterances and {len(seconds)} durations: "
            "pass one utterance and duration for each sequence that was scored"
        )
    return pd.DataFrame(
        {
            "utterance": np.repeat(np.asarray(utterances, dtype=object), num_layers),
            "layer": np.tile(np.array(table.layers, dtype=np.int32), num_items),
            "logp_sum": table.logp_sum_NL.reshape(-1),
            "logp_first": table.logp_first_NL.reshape(-1),
            "logp_eos": table.logp_eos_NL.reshape(-1),
            "num_tokens": np.repeat(table.num_tokens_N, num_layers),
            "seconds": np.repeat(np.asarray(seconds, dtype=np.float64), num_layers),
        }
    )


def _refuse_bad(sequences: Sequence[np.ndarray], vocab_size: int, max_tokens: int) -> None:
    for place, ids in enumerate(sequences):
        if len(ids) == 0:
            raise ValueError(f"sequence {place} is empty: quarantine items without units")
        if int(ids.max()) >= vocab_size:
            raise ValueError(
                f"sequence {place} holds id {int(ids.max())}, but the vocabulary ends at "
                f"{vocab_size - 1}: was it tokenized with another vocabulary?"
            )
        if len(ids) + 1 > max_tokens:
            raise ValueError(
                f"sequence {place} has {len(ids)} units, but with BOS the model reads "
                f"{max_tokens}: split the item, or train with a longer window"
            )


def _score_batch(
    model: LayeredModel,
    batch: Batch,
    impossible: Sequence[slice],
    wanted: tuple[int, ...],
    normed: bool,
) -> np.ndarray:
    """S, F and E of each member and wanted layer, (M, L, 3); one layer's logits live at a time."""
    ids_BT, positions_BT, document_BT, place_G, target_G = (
        torch.as_tensor(array, device=model.device)
        for array in (
            *(batch.ids_BT, batch.positions_BT, batch.document_BT),
            *(batch.place_G, batch.target_G),
        )
    )
    hidden = model.hidden(ids_BT, positions_BT, document_BT)
    parts = []
    for layer in wanted:
        state_BTD = model.final_norm(hidden[layer]) if normed else hidden[layer]
        logp_G = _gathered_logp(model.head(state_BTD), place_G, target_G, impossible)
        parts.append(_summed(logp_G.cpu().numpy().astype(np.float64), batch))
    return np.stack(parts, axis=1)


def _impossible(specials: Specials, vocab_size: int) -> list[slice]:
    """The columns of the head that are no outcome: all but the units and EOS.

    A BOS that is also EOS, or one of the units of a model made elsewhere, is where it belongs.
    """
    free = [slice(vocab_size, specials.eos), slice(max(vocab_size, specials.eos + 1), None)]
    if specials.bos < vocab_size and specials.bos != specials.eos:
        free.append(slice(specials.bos, specials.bos + 1))
    return free


def _gathered_logp(
    logits_BTV: torch.Tensor,
    place_G: torch.Tensor,
    target_G: torch.Tensor,
    impossible: Sequence[slice],
) -> torch.Tensor:
    """log p of each target among the units and EOS, fp32."""
    logits_PV = logits_BTV.flatten(0, 1).float()
    for columns in impossible:
        logits_PV[:, columns] = -torch.inf
    return torch.log_softmax(logits_PV, -1)[place_G, target_G]


def _summed(logp_G: np.ndarray, batch: Batch) -> np.ndarray:
    """S, F and E of each member, (M, 3), in float64: rounding stays below what a tie needs."""
    end_G = batch.term_G < 0
    num_members = len(batch.members)
    sums_M = np.bincount(batch.member_G, np.where(end_G, 0.0, logp_G), num_members)
    return np.stack([sums_M, logp_G[batch.term_G == 0], logp_G[end_G]], axis=-1)


def _autocast(
    device: torch.device, precision: Precision
) -> contextlib.AbstractContextManager[object]:
    if precision not in ("fp32", "bf16"):
        raise ValueError(f"precision is {precision!r}: use 'fp32' or 'bf16'")
    if precision == "fp32":
        return contextlib.nullcontext()
    cast: contextlib.AbstractContextManager[object] = torch.autocast(device.type, torch.bfloat16)
    return cast
