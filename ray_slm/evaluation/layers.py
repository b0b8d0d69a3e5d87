"""Language models as stacks of layers whose every hidden state can be read as a prediction.

Scoring needs the hidden states before the final norm, the norm and the head, apart.  Two models
give them: the one trained here and Hugging Face's Llama, the independent reference, which also
opens any Llama folder.  Legend: B batch, T tokens, D width, V vocabulary (with padding).
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

Implementation = Literal["lean", "huggingface"]


class LayeredModel(Protocol):
    """A causal model in evaluation mode that shows its layers."""

    num_layers: int
    max_tokens: int  # the longest sequence its positions were made for, BOS included
    reads_branches: bool  # whether documents of a row may continue a shared beginning

    @property
    def device(self) -> torch.device:
        """Where the weights lie, and where ids must go."""
        ...

    def hidden(self, ids_BT: Tensor, positions_BT: Tensor, document_BT: Tensor) -> Sequence[Tensor]:
        """h_0 (embedding) .. h_L, each (B, T, D), all before the final norm."""
        ...

    def final_norm(self, hidden_BTD: Tensor) -> Tensor:
        """The norm that precedes the head."""
        ...

    def head(self, normed_BTD: Tensor) -> Tensor:
        """Logits (B, T, V); the caller masks what is no outcome."""
        ...


def load_model(
    folder: Path, *, device: str = "cpu", implementation: Implementation = "lean"
) -> LayeredModel:
    """The model of a checkpoint folder (config.json, model.safetensors), in fp32.

    Both implementations read the same folder; "lean" is the one that training uses.

    Raises:
        ValueError: when a file is absent or the architecture is not Llama.
    """
    for name in ("config.json", "model.safetensors"):
        if not (folder / name).is_file():
            raise ValueError(f"{folder}: there is no {name}; is this a checkpoint folder?")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if config.get("model_type") != "llama":
        raise ValueError(
            f"{folder}/config.json: model_type is {config.get('model_type')!r}, expected 'llama'"
        )
    if implementation == "huggingface":
        from transformers import LlamaForCausalLM

        reference = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
        return HuggingFaceModel(reference.to(device).eval())
    from ray_slm.training.model import open_model

    model = open_model(folder, device)
    if model.device.type != "cpu":
        model.kernel = "sdpa"  # one short document per row: nothing for a block mask to skip
    return model


class HuggingFaceModel:
    """``transformers.LlamaForCausalLM`` as a ``LayeredModel``.

    ``output_hidden_states`` gives the last state after the norm, so it is caught before it.
    Documents are ignored: one row holds one sequence.
    """

    reads_branches = False

    def __init__(self, model: Any) -> None:
        self.model = model
        self.num_layers = int(model.config.num_hidden_layers)
        self.max_tokens = int(model.config.max_position_embeddings)
        self._last: list[Tensor] = []
        model.model.norm.register_forward_pre_hook(self._catch)

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        place: torch.device = self.model.lm_head.weight.device
        return place

    def _catch(self, _norm: Any, inputs: tuple[Tensor, ...]) -> None:
        self._last.append(inputs[0])

    def hidden(self, ids_BT: Tensor, positions_BT: Tensor, document_BT: Tensor) -> list[Tensor]:
        """h_0 .. h_L, each (B, T, D)."""
        self._last.clear()
        out = self.model.model(
            input_ids=ids_BT, position_ids=positions_BT, output_hidden_states=True, use_cache=False
        )
        (last_BTD,) = self._last
        self._last.clear()
        return [*out.hidden_states[:-1], last_BTD]

    def final_norm(self, hidden_BTD: Tensor) -> Tensor:
        """RMS norm before the head."""
        normed: Tensor = self.model.model.norm(hidden_BTD)
        self._last.clear()
        return normed

    def head(self, normed_BTD: Tensor) -> Tensor:
        """Logits (B, T, V)."""
        logits: Tensor = self.model.lm_head(normed_BTD)
        return logits
