"""Attention within documents, by the kernel that was measured to be quickest on each device.

A row holds several documents; a token attends to itself and to earlier tokens of its own
document, and to nothing else.  On CPU plain matrix products beat the fused kernels up to twice;
on GPU the variable-length kernel touches no masked score at all.
Legend: B rows, T tokens, H query heads, K key-value heads, G = H / K, E head size, Q queries.
"""

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Kernel = Literal["matmul", "sdpa", "varlen"]
Attend = Callable[[Tensor, Tensor, Tensor], Tensor]

# What the variable-length kernel wants to hear of them; before torch 2.12 it took them unasked.
GROUPED_HEADS = {"enable_gqa": True} if torch.__version__ >= (2, 12) else {}
QUERY_BLOCK = 256  # queries of one block of scores: fits the cache and skips most of the future


def kernel_for(device: torch.device, dtype: torch.dtype) -> Kernel:
    """The kernel for a device and a precision of computing."""
    if device.type == "cpu":
        return "matmul"
    half = dtype in (torch.bfloat16, torch.float16)
    return "varlen" if device.type == "cuda" and half else "sdpa"


def attention_over(
    document_BT: Tensor, kernel: Kernel, dtype: torch.dtype, bounds: Tensor | None = None
) -> Attend:
    """The attention of one batch: (q_BTHE, k_BTKE, v_BTKE) -> (B, T, H, E).

    What depends on the documents alone is made once here and serves every layer; ``bounds``
    (``packing.bounds``) spares the variable-length kernel a wait for the device.

    Raises:
        ValueError: for a kernel that does not exist.
    """
    if kernel == "matmul":
        return _matmul(document_BT, dtype)
    if kernel == "sdpa":
        return _sdpa(document_BT)
    if kernel == "varlen":
        return _varlen(document_BT, _bounds(document_BT) if bounds is None else bounds)
    raise ValueError(f"attention kernel {kernel!r}: use 'matmul', 'sdpa' or 'varlen'")


def seen_until(column: int) -> int:
    """The document of a token that every later token before ``column`` continues.

    A row of such tokens holds a tree in preorder: sequences that share their beginnings.
    """
    return -2 - column


def allowed(document_BT: Tensor) -> Tensor:
    """(B, T, T): True where query i may see key j.  Padding sees itself, so no row is empty.

    A token sees the earlier tokens of its own document, and those that ``seen_until`` lets it.
    """
    column_T = torch.arange(document_BT.shape[1], device=document_BT.device)
    same_BTT = document_BT[:, :, None] == document_BT[:, None, :]
    continued_BTT = column_T[:, None] < (seen_until(0) - document_BT)[:, None, :]
    return (same_BTT | continued_BTT).tril()


def _matmul(document_BT: Tensor, dtype: torch.dtype) -> Attend:
    zero = torch.zeros((), dtype=dtype, device=document_BT.device)
    bias_BTT = torch.where(allowed(document_BT), zero, float("-inf"))

    def attend(q_BTHE: Tensor, k_BTKE: Tensor, v_BTKE: Tensor) -> Tensor:
        num_tokens, head_size = q_BTHE.shape[1], q_BTHE.shape[3]
        q_BTHE = q_BTHE * head_size**-0.5
        q_BKGTE = q_BTHE.transpose(1, 2).unflatten(1, (k_BTKE.shape[2], -1))
        k_BKET, v_BKTE = k_BTKE.permute(0, 2, 3, 1), v_BTKE.transpose(1, 2)
        blocks = []
        for start in range(0, num_tokens, QUERY_BLOCK):
            end = min(start + QUERY_BLOCK, num_tokens)
            queries = q_BKGTE[..., start:end, :].flatten(2, 3)
            scores_BKGQT = (queries @ k_BKET[..., :end]).unflatten(2, (-1, end - start))
            scores_BKGQT += bias_BTT[:, None, None, start:end, :end]
            weights = torch.softmax(scores_BKGQT, -1, dtype=scores_BKGQT.dtype).flatten(2, 3)
            blocks.append((weights @ v_BKTE[:, :, :end]).unflatten(2, (-1, end - start)))
        out_BKGTE = blocks[0] if len(blocks) == 1 else torch.cat(blocks, 3)
        return out_BKGTE.flatten(1, 2).transpose(1, 2)

    return attend


def _sdpa(document_BT: Tensor) -> Attend:
    mask_B1TT = allowed(document_BT)[:, None]

    def attend(q_BTHE: Tensor, k_BTKE: Tensor, v_BTKE: Tensor) -> Tensor:
        q, k, v = (x.transpose(1, 2) for x in (q_BTHE, k_BTKE, v_BTKE))
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask_B1TT, enable_gqa=True)
        return out.transpose(1, 2)

    return attend


def _bounds(document_BT: Tensor) -> Tensor:
    starts_BT = torch.ones_like(document_BT, dtype=torch.bool)
    starts_BT[:, 1:] = document_BT[:, 1:] != document_BT[:, :-1]
    starts = starts_BT.flatten().nonzero().flatten().to(torch.int32)
    return torch.cat([starts, starts.new_tensor([document_BT.numel()])])


def _varlen(document_BT: Tensor, bounds: Tensor) -> Attend:
    """FlashAttention over the rows laid end to end, cut where the document changes."""
    from torch.nn.attention.varlen import varlen_attn

    num_rows, num_tokens = document_BT.shape

    def attend(q_BTHE: Tensor, k_BTKE: Tensor, v_BTKE: Tensor) -> Tensor:
        q, k, v = (x.flatten(0, 1) for x in (q_BTHE, k_BTKE, v_BTKE))
        lengths = (bounds, bounds, num_tokens, num_tokens)
        out = varlen_attn(q, k, v, *lengths, window_size=(-1, 0), **GROUPED_HEADS)
        return out.unflatten(0, (num_rows, num_tokens))

    return attend
