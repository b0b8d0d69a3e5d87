"""Language models as stacks of layers whose every hidden state can be read as a prediction.

Scoring needs the hidden states before the final norm, the norm and the head, apart.  Two models
give them: the one trained here, and any causal model of Hugging Face, the independent reference.
Legend: B batch, T tokens, D width, V vocabulary (with padding).
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol

import torch
from torch import Tensor

from ray_slm.evaluation.batches import Specials

Implementation = Literal["lean", "huggingface"]
TRAINED = "trainer.json"  # training writes it beside the weights


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
    folder: Path, *, device: str = "cpu", implementation: Implementation | None = None
) -> LayeredModel:
    """The model of a checkpoint folder (config.json and weights), in fp32.

    "lean" is the implementation that training uses, "huggingface" opens any causal model; by
    default a folder that training wrote is read by the former, any other by the latter.

    Raises:
        ValueError: when a file is absent or the architecture cannot be read.
    """
    if not (folder / "config.json").is_file():
        raise ValueError(f"{folder}: there is no config.json; is this a checkpoint folder?")
    if implementation is None:
        implementation = "lean" if (folder / TRAINED).is_file() else "huggingface"
    if implementation == "huggingface":
        from ray_slm.evaluation.hugging_face import open_hugging_face

        return open_hugging_face(folder, device)
    from ray_slm.training.model import open_model

    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if config.get("model_type") != "llama":
        raise ValueError(
            f"{folder}/config.json: model_type is {config.get('model_type')!r}, expected 'llama'"
        )
    if not (folder / "model.safetensors").is_file():
        raise ValueError(f"{folder}: there is no model.safetensors; is this a checkpoint folder?")
    model = open_model(folder, device)
    if model.device.type != "cpu":
        model.kernel = "sdpa"  # one short document per row: nothing for a block mask to skip
    return model


def specials_of(folder: Path, vocab_size: int) -> Specials:
    """The special ids of a checkpoint folder whose items have ids below ``vocab_size``.

    A model without BOS begins with EOS, as such models were trained.  Raises ValueError where
    there is no EOS, or the model has fewer outcomes than the items have ids.
    """
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    bos, eos, pad = (config.get(f"{name}_token_id") for name in ("bos", "eos", "pad"))
    eos = eos[0] if isinstance(eos, list) else eos
    if eos is None:
        raise ValueError(f"{folder}/config.json has no eos_token_id: what ends a sequence?")
    if config["vocab_size"] < vocab_size:
        raise ValueError(
            f"{folder}: the model knows {config['vocab_size']} ids, the items have up to "
            f"{vocab_size}: were they tokenized for another model?"
        )
    bos = eos if bos is None else bos
    return Specials(bos=bos, eos=eos, pad=eos if pad is None else pad)
