"""Continue prompts by seeded top-p sampling, with keys and values kept from step to step.

Every sample draws from random numbers of its own, a batch always has the same number of rows, and
a row writes its keys from slot 0 on, so what a prompt is continued with depends on model, prompt
and seed, never on its neighbors.  Keys of padding lie behind a row's end and are never seen.
Legend: B rows, Q new tokens, T tokens, S slots, H query heads, K key-value heads, G = H / K,
E head size, D width, V outcomes (units, BOS masked, EOS).
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ray_slm.evaluation.likelihood import Precision
from ray_slm.training.attention import Attend
from ray_slm.training.layers import rotary
from ray_slm.training.model import Llama

CHUNK = 64  # tokens of a prompt read at once, the same for every row
SLOT_STEP = 128  # the slots that are looked at grow by so many


class Continued(NamedTuple):
    """One continuation: its units, and whether the model ended it itself (EOS is left out)."""

    ids_T: np.ndarray  # uint16
    ended: bool


def continue_prompts(
    model: Llama,
    prompts: Sequence[np.ndarray],
    seeds: Sequence[int],
    *,
    vocab_size: int,
    max_new: int,
    top_p: float = 0.9,
    temperature: float = 1.0,
    rows: int = 32,
    precision: Precision = "fp32",
) -> list[Continued]:
    """Continue each prompt (units under BOS) with at most ``max_new`` units.

    Sample i takes the uniform numbers of ``default_rng(seeds[i])``, one for each step.  Possible
    outcomes are the units and EOS.

    Raises:
        ValueError: for other numbers of seeds, an id outside the vocabulary, or a prompt that
            leaves no room for ``max_new`` units in the model's window.
    """
    _refuse_bad(prompts, seeds, vocab_size, max_new, model.max_tokens)
    found: list[Continued] = []
    half = torch.autocast(model.device.type, torch.bfloat16, enabled=precision == "bf16")
    with torch.inference_mode(), half:
        for start in range(0, len(prompts), rows):
            taken = slice(start, start + rows)
            batch = _Batch(model, prompts[taken], rows, vocab_size, max_new)
            draws_BT = np.ones((rows, max_new))
            for row, seed in enumerate(seeds[taken]):
                draws_BT[row] = np.random.default_rng(seed).random(max_new)
            found += batch.sample(draws_BT, top_p, temperature)[: len(prompts[taken])]
    return found


def choose(logits_BV: Tensor, draw_B: Tensor, top_p: float, temperature: float) -> Tensor:
    """The outcome (B,) that each uniform number in [0, 1) picks from the nucleus.

    The nucleus is the fewest likeliest outcomes whose probabilities sum to ``top_p`` or more
    (Holtzman et al. 2020, arXiv 1904.09751); numbers map to it in order of probability.
    """
    p_BV = torch.softmax(logits_BV.double() / temperature, -1)
    sorted_BV, order_BV = p_BV.sort(dim=-1, descending=True, stable=True)
    before_BV = sorted_BV.cumsum(-1) - sorted_BV
    kept_BV = torch.where(before_BV < top_p, sorted_BV, 0.0)
    reached_BV = kept_BV.cumsum(-1)
    goal_B1 = draw_B[:, None] * reached_BV[:, -1:]
    place_B1 = torch.searchsorted(reached_BV, goal_B1, right=True)
    last_B1 = (kept_BV > 0).sum(-1, keepdim=True) - 1  # rounding may put the goal on the very end
    return order_BV.gather(1, torch.minimum(place_B1, last_B1))[:, 0]


def _refuse_bad(
    prompts: Sequence[np.ndarray],
    seeds: Sequence[int],
    vocab_size: int,
    max_new: int,
    max_tokens: int,
) -> None:
    if len(prompts) != len(seeds):
        raise ValueError(f"{len(prompts)} prompts and {len(seeds)} seeds: pass one seed for each")
    for place, ids in enumerate(prompts):
        if len(ids) and int(ids.max()) >= vocab_size:
            raise ValueError(
                f"prompt {place} holds id {int(ids.max())}, but the vocabulary ends at "
                f"{vocab_size - 1}: was it tokenized with another vocabulary?"
            )
        if 1 + len(ids) + max_new > max_tokens:
            raise ValueError(
                f"prompt {place} has {len(ids)} units; with BOS and {max_new} more they exceed "
                f"the model's {max_tokens}: shorten prompt_seconds or max_seconds"
            )


class _Batch:
    """Rows that are continued together; rows without a prompt are padding."""

    def __init__(
        self,
        model: Llama,
        prompts: Sequence[np.ndarray],
        rows: int,
        vocab_size: int,
        max_new: int,
    ) -> None:
        self._model, self._max_new = model, max_new
        self._bos, self._eos, self._pad = vocab_size, vocab_size + 1, vocab_size + 2
        lengths = [1 + len(ids) for ids in prompts] + [1] * (rows - len(prompts))
        width = -(-max(lengths) // CHUNK) * CHUNK
        ids_BT = np.full((rows, width), self._pad)
        ids_BT[:, 0] = self._bos
        for row, ids in enumerate(prompts):
            ids_BT[row, 1 : len(ids) + 1] = ids
        self._ids_BT = torch.as_tensor(ids_BT, device=model.device)
        self._lengths_B = torch.as_tensor(lengths, device=model.device)
        slots = -(-max(width, max(lengths) + max_new) // SLOT_STEP) * SLOT_STEP
        self._cache = _Cache(model, rows, slots)

    def sample(self, draws_BT: np.ndarray, top_p: float, temperature: float) -> list[Continued]:
        """Sample until every row has ended or is full."""
        draws = torch.as_tensor(draws_BT, device=self._model.device)
        logits_BV, ended_B = self._read(), self._lengths_B < 0
        chosen: list[Tensor] = []
        for step in range(self._max_new):
            next_B = choose(logits_BV, draws[:, step], top_p, temperature)
            next_B = torch.where(ended_B, self._eos, next_B)
            ended_B = next_B == self._eos
            chosen.append(next_B)
            if bool(ended_B.all()) or step + 1 == self._max_new:
                break
            positions_B1 = (self._lengths_B + step)[:, None]
            logits_BV = self._logits(self._cache.read(next_B[:, None], positions_B1)[:, 0])
        return list(self._cut(torch.stack(chosen, 1).cpu().numpy()))

    def _cut(self, chosen_BT: np.ndarray) -> Iterator[Continued]:
        for row_T in chosen_BT:
            ends = np.flatnonzero(row_T == self._eos)
            units_T = row_T[: ends[0]] if len(ends) else row_T
            yield Continued(units_T.astype(np.uint16), bool(len(ends)))

    def _read(self) -> Tensor:
        """Read the prompts chunk by chunk; the outcomes' logits (B, V) after each row's last."""
        rows, width = self._ids_BT.shape
        last_BD: Tensor | None = None
        for start in range(0, width, CHUNK):
            positions_T = torch.arange(start, start + CHUNK, device=self._model.device)
            x_BTD = self._cache.read(
                self._ids_BT[:, start : start + CHUNK], positions_T.expand(rows, -1)
            )
            place_B = (self._lengths_B - 1 - start).clamp(0, CHUNK - 1)
            here_BD = x_BTD[torch.arange(rows, device=x_BTD.device), place_B]
            inside_B1 = ((self._lengths_B - 1) // CHUNK == start // CHUNK)[:, None]
            last_BD = here_BD if last_BD is None else torch.where(inside_B1, here_BD, last_BD)
        assert last_BD is not None
        return self._logits(last_BD)

    def _logits(self, x_BD: Tensor) -> Tensor:
        model = self._model
        logits_BV: Tensor = model.head(model.final_norm(x_BD))[:, : self._eos + 1].float()
        logits_BV[:, self._bos] = -torch.inf
        return logits_BV


class _Cache:
    """Keys and values of all layers, (B, K, S, E) each."""

    def __init__(self, model: Llama, rows: int, slots: int) -> None:
        self._model, self._slots = model, slots
        kind = model.device.type
        autocast_on = torch.is_autocast_enabled(kind)
        self._dtype = torch.get_autocast_dtype(kind) if autocast_on else torch.float32
        shape = (rows, model.scale.kv_heads, slots, model.scale.head_size)
        self._kept = [
            (
                torch.zeros(shape, dtype=self._dtype, device=model.device),
                torch.zeros(shape, dtype=self._dtype, device=model.device),
            )
            for _ in range(model.num_layers)
        ]

    def read(self, ids_BQ: Tensor, positions_BQ: Tensor) -> Tensor:
        """The last hidden state (B, Q, D) of new tokens that see what came before them."""
        x_BQD = self._model.model.embed_tokens(ids_BQ)
        rotate = rotary(positions_BQ, self._model.scale, self._dtype)
        used = -(-(int(positions_BQ.max()) + 1) // SLOT_STEP) * SLOT_STEP
        slots_S = torch.arange(min(used, self._slots), device=ids_BQ.device)
        hidden_BQS = slots_S > positions_BQ[:, :, None]
        zero = torch.zeros((), dtype=self._dtype, device=ids_BQ.device)
        bias_BQS = torch.where(hidden_BQS, float("-inf"), zero)
        for layer, kept in zip(self._model.model.layers, self._kept, strict=True):
            x_BQD = layer(x_BQD, rotate, _attention(kept, positions_BQ, bias_BQS))
        return x_BQD


def _attention(kept: tuple[Tensor, Tensor], positions_BQ: Tensor, bias_BQS: Tensor) -> Attend:
    """Attention of new tokens over a layer's kept keys; keeps the new ones first."""
    rows_B11 = torch.arange(len(positions_BQ), device=positions_BQ.device)[:, None, None]
    used = bias_BQS.shape[-1]

    def attend(q_BQHE: Tensor, k_BQKE: Tensor, v_BQKE: Tensor) -> Tensor:
        heads_1K1 = torch.arange(k_BQKE.shape[2], device=k_BQKE.device)[None, :, None]
        for cache_BKSE, new in zip(kept, (k_BQKE, v_BQKE), strict=True):
            cache_BKSE[rows_B11, heads_1K1, positions_BQ[:, None]] = new.transpose(1, 2)
        k_BKSE, v_BKSE = (cache_BKSE[:, :, :used] for cache_BKSE in kept)
        q_BKGQE = (q_BQHE * q_BQHE.shape[-1] ** -0.5).transpose(1, 2)
        q_BKGQE = q_BKGQE.unflatten(1, (k_BKSE.shape[1], -1))
        num_new = q_BKGQE.shape[3]
        scores = (q_BKGQE.flatten(2, 3) @ k_BKSE.transpose(2, 3)).unflatten(2, (-1, num_new))
        scores = scores + bias_BQS[:, None, None]
        weights = torch.softmax(scores, -1, dtype=scores.dtype).flatten(2, 3)
        out_BKGQE = (weights @ v_BKSE).unflatten(2, (-1, num_new))
        return out_BKGQE.flatten(1, 2).transpose(1, 2)

    return attend
