"""The log-probability a language model gives to each item, at its last layer or at every layer.

Stored are the parts from which every scoring convention follows.  The width an item is padded to
depends on its own length alone, never on its neighbors (nor, off the CPU, does the number of rows,
which picks the kernel there), so a score does not change with the company it keeps.
Legend: N sequences, L scored layers, B rows of a batch, T tokens, D width, V units.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
import torch

from ray_slm.evaluation.layers import LayeredModel

Precision = Literal["fp32", "bf16"]
Layers = Literal["all", "final"]
MIN_BATCH_TOKENS = 64  # matrix products of fewer rows take another kernel, which rounds otherwise


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


class _Batch(NamedTuple):
    """Rows of equal padded length; ``members`` says which sequence each row is."""

    members: np.ndarray
    num_rows: int
    num_columns: int


def score(
    model: LayeredModel,
    sequences: Sequence[np.ndarray],
    *,
    vocab_size: int,
    layers: Layers = "all",
    token_budget: int = 512,
    precision: Precision = "fp32",
    normed: bool = True,
) -> ScoreTable:
    """Score sequences of unit ids (uint16, without specials) under BOS.

    The possible outcomes are the ``vocab_size`` units and EOS; probability the head gives to
    BOS, PAD and padding columns is masked before normalizing, at every layer.  ``normed=False``
    reads the layers without the final norm.  Small budgets are quicker on CPU (cache), large
    ones on GPU.  The log-softmax is fp32 whatever the precision.

    Raises:
        ValueError: for an empty sequence, an id outside the vocabulary, or one too long.
    """
    _refuse_bad(sequences, vocab_size, model.max_tokens)
    unique, inverse = _deduplicated(sequences)
    wanted = tuple(range(model.num_layers + 1)) if layers == "all" else (model.num_layers,)
    parts_ULK = np.full((len(unique), len(wanted), 3), np.nan)
    with torch.inference_mode(), _autocast(model.device, precision):
        for batch in _batches(unique, token_budget, filled=model.device.type != "cpu"):
            parts_RLK = _score_batch(model, batch, unique, vocab_size, wanted, normed)
            parts_ULK[batch.members] = parts_RLK[: len(batch.members)]
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


def _deduplicated(sequences: Sequence[np.ndarray]) -> tuple[list[np.ndarray], np.ndarray]:
    """The distinct sequences, and for each one given the number of its like."""
    numbers: dict[bytes, int] = {}
    unique: list[np.ndarray] = []
    inverse = np.empty(len(sequences), dtype=np.int64)
    for place, ids in enumerate(sequences):
        row = np.ascontiguousarray(ids, dtype=np.int64)
        inverse[place] = numbers.setdefault(row.tobytes(), len(unique))
        if inverse[place] == len(unique):
            unique.append(row)
    return unique, inverse


def _padded_length(num_columns: int) -> int:
    """The next multiple of a step that is at most an eighth of the length, and at least 2."""
    step = max(2, 1 << max(0, num_columns.bit_length() - 4))
    return -(-num_columns // step) * step


def _batches(unique: Sequence[np.ndarray], token_budget: int, filled: bool) -> Iterator[_Batch]:
    """Length-sorted batches of equal padded length; ``filled`` tops each up with padding rows."""
    columns = np.array([_padded_length(len(ids) + 1) for ids in unique], dtype=np.int64)
    for num_columns in np.unique(columns).tolist():
        members = np.flatnonzero(columns == num_columns)
        least = -(-MIN_BATCH_TOKENS // num_columns)
        num_rows = max(least, token_budget // num_columns)
        for start in range(0, len(members), num_rows):
            taken = members[start : start + num_rows]
            yield _Batch(taken, num_rows if filled else max(least, len(taken)), num_columns)


def _score_batch(
    model: LayeredModel,
    batch: _Batch,
    unique: Sequence[np.ndarray],
    vocab_size: int,
    wanted: tuple[int, ...],
    normed: bool,
) -> np.ndarray:
    """S, F and E of each row and wanted layer, (R, L, 3); one layer's logits live at a time."""
    bos, eos, pad = vocab_size, vocab_size + 1, vocab_size + 2
    shape = (batch.num_rows, batch.num_columns)
    ids_RT, targets_RT = np.full(shape, pad), np.zeros(shape, dtype=np.int64)
    lengths_R = np.ones(batch.num_rows, dtype=np.int64)
    ids_RT[:, 0] = bos
    for row, item in enumerate(batch.members):
        units = unique[item]
        lengths_R[row] = len(units)
        ids_RT[row, 1 : len(units) + 1] = targets_RT[row, : len(units)] = units
        targets_RT[row, len(units)] = eos
    place = {"device": model.device}
    ids, targets = torch.as_tensor(ids_RT, **place), torch.as_tensor(targets_RT, **place)
    lengths = torch.as_tensor(lengths_R, **place)
    positions = torch.arange(batch.num_columns, **place).expand(shape)
    hidden = model.hidden(ids, positions, torch.zeros_like(ids))
    parts = []
    for layer in wanted:
        state = model.final_norm(hidden[layer]) if normed else hidden[layer]
        logp_RT = _target_logp(model.head(state), targets, vocab_size)
        parts.append(_summed(logp_RT, lengths))
    return np.asarray(torch.stack(parts, dim=1).cpu())


def _target_logp(
    logits_RTV: torch.Tensor, targets_RT: torch.Tensor, vocab_size: int
) -> torch.Tensor:
    """log p of each target among the units and EOS, fp32."""
    bos, eos = vocab_size, vocab_size + 1
    outcomes_RTV = logits_RTV[..., : eos + 1].float()
    outcomes_RTV[..., bos] = -torch.inf
    loss = torch.nn.functional.cross_entropy(
        outcomes_RTV.flatten(0, 1), targets_RT.flatten(), reduction="none"
    )
    return -loss.view(targets_RT.shape)


def _summed(logp_RT: torch.Tensor, lengths_R: torch.Tensor) -> torch.Tensor:
    """S, F and E of each row, (R, 3) float64: later rounding stays below what a tie needs."""
    place_T = torch.arange(logp_RT.shape[1], device=logp_RT.device)
    unit_RT = place_T[None, :] < lengths_R[:, None]
    sums_R = torch.where(unit_RT, logp_RT.double(), 0.0).sum(-1)
    ends_R = logp_RT.gather(1, lengths_R[:, None])[:, 0].double()
    return torch.stack([sums_R, logp_RT[:, 0].double(), ends_R], dim=-1)


def _autocast(
    device: torch.device, precision: Precision
) -> contextlib.AbstractContextManager[object]:
    if precision not in ("fp32", "bf16"):
        raise ValueError(f"precision is {precision!r}: use 'fp32' or 'bf16'")
    if precision == "fp32":
        return contextlib.nullcontext()
    cast: contextlib.AbstractContextManager[object] = torch.autocast(device.type, torch.bfloat16)
    return cast
