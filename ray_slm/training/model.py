"""A lean Llama: the parameters, names and logits of ``transformers.LlamaForCausalLM``.

It reads packed rows (several documents, positions restarting, attention within documents), shows
every layer's hidden state for layer-wise scoring, and is quicker than the reference on CPU.
Legend: B rows, T tokens, D width, V table rows.
"""

import json
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ray_slm.training.attention import Kernel, attention_over, kernel_for
from ray_slm.training.layers import Body, rotary
from ray_slm.training.scale import Scale, table_size

WEIGHTS = "model.safetensors"
CONFIG = "config.json"


def initialized(scale: Scale, vocab_size: int, seed: int) -> "Llama":
    """A new model for ``vocab_size`` units and the specials, initialized as TinyLlama is.

    Normal with std sqrt(2 / (5 width)); output projections 1 / (layers sqrt(width)).  The layers
    are drawn before the tables, so one seed gives every vocabulary the same layers.
    """
    with torch.device("meta"):
        model = Llama(scale, table_size(vocab_size))
    # Not `to_empty`: it imports the symbolic shapes of torch.compile, a good part of a start.
    weights = {name: torch.empty(p.shape) for name, p in model.named_parameters()}
    generator = torch.Generator().manual_seed(seed)
    for name, weight in sorted(weights.items(), key=lambda pair: "layers" not in pair[0]):
        if name.endswith("norm.weight"):
            nn.init.ones_(weight)
            continue
        std = _std(scale)
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            std = 1 / (scale.layers * math.sqrt(scale.width))
        nn.init.normal_(weight, std=std, generator=generator)
    model.load_state_dict(weights, assign=True)
    return model


def open_model(folder: Path, device: torch.device | str = "cpu") -> "Llama":
    """The model of a checkpoint folder (config.json, model.safetensors), in fp32.

    Raises:
        ValueError: for a Llama with parts that this model lacks (biases, scaled positions).
    """
    from safetensors.torch import load_file

    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    with torch.device("meta"):
        model = Llama(_scale_of(config, folder), int(config["vocab_size"]))
    weights = load_file(folder / WEIGHTS, device=str(device))
    model.load_state_dict({k: w.float() for k, w in weights.items()}, assign=True)
    model.requires_grad_(False)
    model.eval()
    return model


def llama_config(scale: Scale, vocab_size: int) -> Any:
    """The ``transformers.LlamaConfig`` under which the same weights give the same logits."""
    from transformers import LlamaConfig

    return LlamaConfig(**config_json(scale, vocab_size))


def config_json(scale: Scale, vocab_size: int) -> dict[str, Any]:
    """The content of ``config.json``, for ``transformers`` to open the weights with.

    Written out here, so that training neither waits for the import of transformers nor depends
    on its version.
    """
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "dtype": "float32",
        "vocab_size": table_size(vocab_size),
        "hidden_size": scale.width,
        "intermediate_size": scale.ffn,
        "num_hidden_layers": scale.layers,
        "num_attention_heads": scale.heads,
        "num_key_value_heads": scale.kv_heads,
        "head_dim": scale.head_size,
        "hidden_act": "silu",
        "max_position_embeddings": scale.window,
        "rms_norm_eps": scale.norm_epsilon,
        "rope_parameters": {"rope_type": "default", "rope_theta": scale.rope_base},
        "initializer_range": _std(scale),
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": False,
        "bos_token_id": vocab_size,
        "eos_token_id": vocab_size + 1,
        "pad_token_id": vocab_size + 2,
    }


def _std(scale: Scale) -> float:
    return math.sqrt(2 / (5 * scale.width))


def _scale_of(config: dict[str, Any], folder: Path) -> Scale:
    """The shape a ``config.json`` describes."""
    rope = config.get("rope_parameters") or {"rope_theta": config.get("rope_theta", 10_000.0)}
    strange = [n for n in ("attention_bias", "mlp_bias", "tie_word_embeddings") if config.get(n)]
    if rope.get("rope_type", "default") != "default" or config.get("rope_scaling"):
        strange.append("rope scaling")
    if strange:
        raise ValueError(
            f"{folder / CONFIG}: this Llama has {', '.join(strange)}, which the lean model lacks; "
            "score it with the Hugging Face implementation"
        )
    return Scale(
        name=folder.name,
        layers=config["num_hidden_layers"],
        heads=config["num_attention_heads"],
        kv_heads=config["num_key_value_heads"],
        width=config["hidden_size"],
        ffn=config["intermediate_size"],
        window=config["max_position_embeddings"],
        norm_epsilon=config["rms_norm_eps"],
        rope_base=rope["rope_theta"],
    )


class Llama(nn.Module):  # type: ignore[misc]
    """The language model.  ``kernel`` chooses the attention; None takes the device's."""

    def __init__(self, scale: Scale, num_rows: int, kernel: Kernel | None = None) -> None:
        super().__init__()
        self.scale = scale
        self.kernel = kernel
        self.recompute = False  # True keeps no activations inside layers for the backward pass
        self.num_layers = scale.layers
        self.max_tokens = scale.window
        self.model = Body(scale, num_rows)
        self.lm_head = nn.Linear(scale.width, num_rows, bias=False)

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return self.lm_head.weight.device

    @property
    def reads_branches(self) -> bool:
        """Whether documents of a row may continue a shared beginning: not in varlen kernels."""
        kernel = self.kernel or kernel_for(self.device, torch.bfloat16)
        return kernel != "varlen"

    def forward(
        self,
        ids_BT: Tensor,
        positions_BT: Tensor,
        document_BT: Tensor,
        bounds: Tensor | None = None,
    ) -> Tensor:
        """Logits (B, T, V), columns of specials and padding included."""
        states = self.hidden(ids_BT, positions_BT, document_BT, bounds)
        return self.head(self.final_norm(states[-1]))

    def hidden(
        self,
        ids_BT: Tensor,
        positions_BT: Tensor,
        document_BT: Tensor,
        bounds: Tensor | None = None,
    ) -> list[Tensor]:
        """h_0 (embedding) .. h_L, each (B, T, D), all before the final norm."""
        states: list[Tensor] = [self.model.embed_tokens(ids_BT)]
        dtype = _computing_dtype(states[0])
        kernel = self.kernel or kernel_for(ids_BT.device, dtype)
        attend = attention_over(document_BT, kernel, dtype, bounds)
        rotate = rotary(positions_BT, self.scale, dtype)
        for layer in self.model.layers:
            if self.recompute and torch.is_grad_enabled():
                states.append(checkpoint(layer, states[-1], rotate, attend, use_reentrant=False))
            else:
                states.append(layer(states[-1], rotate, attend))
        return states

    def final_norm(self, hidden_BTD: Tensor) -> Tensor:
        """The norm that precedes the head."""
        normed_BTD: Tensor = self.model.norm(hidden_BTD)
        return normed_BTD

    def head(self, normed_BTD: Tensor) -> Tensor:
        """Logits (B, T, V)."""
        logits_BTV: Tensor = self.lm_head(normed_BTD)
        return logits_BTV


def _computing_dtype(x: Tensor) -> torch.dtype:
    """What matrix products are computed in: the weights' own type, or autocast's."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
