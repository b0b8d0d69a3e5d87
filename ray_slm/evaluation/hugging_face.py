"""Any causal language model of ``transformers`` as a stack of layers.

The architectures differ in where embedding, final norm and head are, and in what lies between them
(scalings, soft caps).  So the parts are looked up by their usual names, and a probe checks that
they give the model's own logits: a model of which that is not true is refused.
Legend: B batch, T tokens, D width, V vocabulary (with padding).
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

FINAL_NORMS = ("norm", "final_layernorm", "final_layer_norm", "ln_f")
POSITIONS = ("max_position_embeddings", "n_positions", "n_ctx", "seq_length")


def open_hugging_face(folder: Path, device: str = "cpu") -> "HuggingFaceModel":
    """The model of a folder that ``AutoModelForCausalLM`` opens, in fp32, without the network.

    Weights must be safetensors: pickled ones could run code.

    Raises:
        ValueError: when it cannot be opened, or its layers cannot be read.
    """
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    try:
        model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, local_files_only=True, use_safetensors=True
        )
    except (OSError, KeyError, SafetensorError) as error:
        raise ValueError(f"{folder} cannot be opened by transformers: {error}") from error
    return HuggingFaceModel(model.to(device).eval())


class HuggingFaceModel:
    """A loaded model as a ``LayeredModel``.

    ``output_hidden_states`` gives the last state after the norm, so it is caught before it.
    Documents are ignored: one row holds one sequence, padded at its end.
    """

    reads_branches = False

    def __init__(self, model: Any) -> None:
        self.model = model
        self.num_layers = int(model.config.num_hidden_layers)
        limits = [getattr(model.config, name, None) for name in POSITIONS]
        self.max_tokens = next((int(limit) for limit in limits if limit), 10**9)
        self._head = model.get_output_embeddings()
        self._norm = _final_norm(model)
        self._last: list[Tensor] = []
        self._norm.register_forward_pre_hook(self._catch)
        self._refuse_other_logits()

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        place: torch.device = self._head.weight.device
        return place

    def hidden(self, ids_BT: Tensor, positions_BT: Tensor, document_BT: Tensor) -> list[Tensor]:
        """h_0 .. h_L, each (B, T, D)."""
        self._last.clear()
        out = self.model.base_model(input_ids=ids_BT, output_hidden_states=True, use_cache=False)
        (last_BTD,) = self._last
        self._last.clear()
        return [*out.hidden_states[:-1], last_BTD]

    def final_norm(self, hidden_BTD: Tensor) -> Tensor:
        """The norm before the head."""
        normed: Tensor = self._norm(hidden_BTD)
        self._last.clear()
        return normed

    def head(self, normed_BTD: Tensor) -> Tensor:
        """Logits (B, T, V)."""
        logits: Tensor = self._head(normed_BTD)
        return logits

    def _catch(self, _norm: Any, inputs: tuple[Tensor, ...]) -> None:
        self._last.append(inputs[0])

    def _refuse_other_logits(self) -> None:
        probe_BT = torch.arange(4, device=self.device)[None] % self._head.weight.shape[0]
        with torch.no_grad():
            states = self.hidden(probe_BT, probe_BT, probe_BT)
            ours = self.head(self.final_norm(states[-1]))
            theirs = self.model(input_ids=probe_BT, use_cache=False).logits
            self._last.clear()
        if len(states) != self.num_layers + 1 or not torch.allclose(
            ours, theirs, rtol=1e-4, atol=1e-4
        ):
            kind = self.model.config.model_type
            raise ValueError(
                f"the layers of a {kind!r} model cannot be read: its head and final norm do not "
                "give its own logits; score it by another program"
            )


def _final_norm(model: Any) -> Any:
    """The norm before the head, by its usual names."""
    base = model.base_model
    for part in (base, getattr(base, "decoder", None)):
        for name in FINAL_NORMS:
            found = getattr(part, name, None)
            if found is not None:
                return found
    raise ValueError(
        f"a {model.config.model_type!r} model has no final norm named one of {FINAL_NORMS}"
    )
