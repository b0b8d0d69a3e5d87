"""The layers of a Llama, named as in ``transformers.LlamaForCausalLM``.

Legend: B rows, T tokens, D width, H query heads, K key-value heads, E head size.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ray_slm.training.attention import Attend
from ray_slm.training.scale import Scale


def rotary(positions_BT: Tensor, scale: Scale, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
    """Rotation of (B, T, heads, E) by position: halves of a head are paired, as in Hugging Face."""
    half = scale.head_size // 2
    exponents = torch.arange(half, dtype=torch.float32, device=positions_BT.device) / half
    angles = positions_BT[:, :, None, None].float() * scale.rope_base**-exponents
    cos, sin = angles.cos().to(dtype), angles.sin().to(dtype)

    def rotate(x_BTHE: Tensor) -> Tensor:
        left, right = x_BTHE.chunk(2, -1)
        return torch.cat((left * cos - right * sin, right * cos + left * sin), -1)

    return rotate


class RMSNorm(nn.Module):  # type: ignore[misc]
    """Root-mean-square norm, in fp32."""

    def __init__(self, width: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.epsilon = epsilon

    def forward(self, x_BTD: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        return F.rms_norm(x_BTD, self.weight.shape, self.weight, self.epsilon)


class Attention(nn.Module):  # type: ignore[misc]
    """Self-attention with rotary positions and grouped queries."""

    def __init__(self, scale: Scale) -> None:
        super().__init__()
        self.head_size = scale.head_size
        shared = scale.kv_heads * scale.head_size
        self.q_proj = nn.Linear(scale.width, scale.width, bias=False)
        self.k_proj = nn.Linear(scale.width, shared, bias=False)
        self.v_proj = nn.Linear(scale.width, shared, bias=False)
        self.o_proj = nn.Linear(scale.width, scale.width, bias=False)

    def forward(self, x_BTD: Tensor, rotate: Callable[[Tensor], Tensor], attend: Attend) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        heads = (-1, self.head_size)
        q_BTHE = rotate(self.q_proj(x_BTD).unflatten(2, heads))
        k_BTKE = rotate(self.k_proj(x_BTD).unflatten(2, heads))
        v_BTKE = self.v_proj(x_BTD).unflatten(2, heads)
        out_BTD: Tensor = self.o_proj(attend(q_BTHE, k_BTKE, v_BTKE).flatten(2))
        return out_BTD


class SwiGLU(nn.Module):  # type: ignore[misc]
    """The gated feed-forward part of a layer."""

    def __init__(self, scale: Scale) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(scale.width, scale.ffn, bias=False)
        self.up_proj = nn.Linear(scale.width, scale.ffn, bias=False)
        self.down_proj = nn.Linear(scale.ffn, scale.width, bias=False)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        out_BTD: Tensor = self.down_proj(F.silu(self.gate_proj(x_BTD)) * self.up_proj(x_BTD))
        return out_BTD


class Layer(nn.Module):  # type: ignore[misc]
    """Attention, then feed-forward, each behind a norm and beside a residual path."""

    def __init__(self, scale: Scale) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(scale.width, scale.norm_epsilon)
        self.self_attn = Attention(scale)
        self.post_attention_layernorm = RMSNorm(scale.width, scale.norm_epsilon)
        self.mlp = SwiGLU(scale)

    def forward(self, x_BTD: Tensor, rotate: Callable[[Tensor], Tensor], attend: Attend) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        x_BTD = x_BTD + self.self_attn(self.input_layernorm(x_BTD), rotate, attend)
        out_BTD: Tensor = x_BTD + self.mlp(self.post_attention_layernorm(x_BTD))
        return out_BTD


class Body(nn.Module):  # type: ignore[misc]
    """Embedding, layers and final norm, under the names that Hugging Face gives them."""

    def __init__(self, scale: Scale, num_rows: int) -> None:
        super().__init__()
        table = torch.empty(num_rows, scale.width)  # drawing here would import torch.compile
        self.embed_tokens = nn.Embedding.from_pretrained(table, freeze=False)
        self.layers = nn.ModuleList(Layer(scale) for _ in range(scale.layers))
        self.norm = RMSNorm(scale.width, scale.norm_epsilon)
