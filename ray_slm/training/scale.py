"""The sizes of models and how they are optimized: values that are part of a study's identity.

Nothing here imports torch, so that a study can be planned without it.  The counts reproduce the
table of the TinyLlama family that the paper trained (22 layers, width 2048, untied head).
"""

import dataclasses
from typing import ClassVar, Literal

NUM_SPECIALS = 3  # BOS, EOS and PAD follow the units
SCHEDULES = ("wsd", "wsd-s", "wsd-branches", "cosine")
TABLE_MULTIPLE = 64  # rows of the embedding table, for the sake of matrix units


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scale:
    """The shape of a Llama: RMSNorm, rotary positions, SwiGLU, grouped queries, untied head.

    ``window`` is the longest row in tokens; longer documents are split.
    """

    REVISION: ClassVar[int] = 1
    name: str
    layers: int
    heads: int
    kv_heads: int
    width: int
    ffn: int
    window: int = 2048
    norm_epsilon: float = 1e-5
    rope_base: float = 10_000.0

    def __post_init__(self) -> None:
        """Refuse shapes that no Llama has."""
        if self.width % self.heads or (self.width // self.heads) % 2:
            raise ValueError(
                f"scale {self.name!r}: width {self.width} over {self.heads} heads must give an "
                "even head size; change width or heads"
            )
        if self.heads % self.kv_heads:
            raise ValueError(
                f"scale {self.name!r}: {self.heads} heads cannot share {self.kv_heads} key-value "
                "heads; kv_heads must divide heads"
            )

    @property
    def head_size(self) -> int:
        """Width of one attention head."""
        return self.width // self.heads


@dataclasses.dataclass(frozen=True, kw_only=True)
class Optimizer:
    """AdamW and its schedule; the defaults are TinyLlama's, with WSD instead of cosine.

    ``wsd`` holds the peak rate and cools down linearly over the last ``cooldown_fraction`` of
    the run.  ``wsd-s`` cools down before every checkpoint, over that share of the tokens since
    the last one, and returns to the peak: every checkpoint is then as settled as the final one
    (Wen et al. 2024, arXiv 2410.05192).  ``wsd-branches`` trains one trunk at the peak rate; each
    checkpoint ends a branch of its own, which leaves the trunk that share of its tokens earlier.
    ``cosine`` is the paper's.  Rates end at ``min_lr_fraction`` of the peak.  Warm-up takes
    ``warmup_steps`` mean steps, or ``warmup_fraction`` of the run where that is shorter.
    """

    REVISION: ClassVar[int] = 1
    peak_lr: float = 4e-4
    schedule: Literal["wsd", "wsd-s", "wsd-branches", "cosine"] = "wsd"
    warmup_steps: int = 2000
    warmup_fraction: float = 0.02
    cooldown_fraction: float = 0.2
    min_lr_fraction: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.95
    epsilon: float = 1e-8
    weight_decay: float = 0.1
    clip_norm: float = 1.0

    def __post_init__(self) -> None:
        """Refuse schedules that the loop does not know."""
        if self.schedule not in SCHEDULES:
            known = ", ".join(map(repr, SCHEDULES))
            raise ValueError(f"schedule is {self.schedule!r}: use one of {known}")
        for name in ("warmup_fraction", "cooldown_fraction", "min_lr_fraction"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}: use a share from 0 to 1")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Batching:
    """What one optimizer step reads: the next utterances of one order that all runs share.

    A step takes ``utterances_per_step``, or, when ``tokens_per_step`` is given, as many as that
    budget of trained tokens holds.  ``pad_to_window`` gives each utterance a row of the whole
    window, as the paper did: the same losses at the paper's cost.
    """

    REVISION: ClassVar[int] = 1
    utterances_per_step: int = 128
    tokens_per_step: int | None = None
    pad_to_window: bool = False

    def __post_init__(self) -> None:
        """Refuse a step that reads nothing."""
        for name in ("utterances_per_step", "tokens_per_step"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}: a step needs at least one")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ending:
    """When a run ends, fixed before it starts.

    Without ``epochs`` it ends at its token budget; with it, after every utterance was read
    exactly so many times, wherever the last checkpoint was scheduled.  ``patience`` ends it
    earlier, once so many validations in a row, all after ``patience_from_epoch``, have not
    lowered the held-out loss by more than ``min_gain`` nats per token.  Validations then come
    every ``validate_fraction`` of the budget.
    """

    REVISION: ClassVar[int] = 1
    epochs: int | None = None
    patience: int | None = None
    patience_from_epoch: float = 1.0
    min_gain: float = 0.0
    validate_fraction: float | None = None

    def __post_init__(self) -> None:
        """Refuse rules that cannot be followed."""
        for name in ("epochs", "patience"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}: use 1 or more, or None")
        share = self.validate_fraction
        if share is not None and not 0 < share <= 1:
            raise ValueError(f"validate_fraction is {share}: use a share above 0 and up to 1")
        if self.patience is not None and share is None:
            raise ValueError("patience counts validations: say how often by validate_fraction")


LAPTOP = Scale(name="laptop", layers=4, heads=2, kv_heads=1, width=128, ffn=384, window=2048)
SMALL = Scale(name="small", layers=8, heads=8, kv_heads=4, width=512, ffn=1408)
MEDIUM = Scale(name="medium", layers=18, heads=12, kv_heads=4, width=768, ffn=2304)
TINYLLAMA = Scale(name="tinyllama", layers=22, heads=32, kv_heads=4, width=2048, ffn=5632)


def table_size(vocab_size: int) -> int:
    """Rows of the embedding table for ``vocab_size`` units: with specials, up to 64."""
    return -(-(vocab_size + NUM_SPECIALS) // TABLE_MULTIPLE) * TABLE_MULTIPLE


def num_parameters(scale: Scale, num_rows: int) -> int:
    """Trainable parameters with an embedding table and a head of ``num_rows`` rows each."""
    norms = (2 * scale.layers + 1) * scale.width
    return linear_parameters(scale) + norms + 2 * num_rows * scale.width


def linear_parameters(scale: Scale) -> int:
    """Parameters of the matrices of all layers: no norms, no embedding, no head."""
    attention = 2 * scale.width * (scale.heads + scale.kv_heads) * scale.head_size
    return scale.layers * (attention + 3 * scale.width * scale.ffn)


def flops_per_token(scale: Scale, mean_length: float, num_rows: int = 0) -> float:
    """FLOPs of training on one token of documents of ``mean_length`` tokens.

    Forward and backward, attention counted causally: 6 (matrices + head) + 6 L H hd (n + 1).
    ``num_rows`` of the head may be left out when the body dominates.
    """
    matrices = linear_parameters(scale) + scale.width * num_rows
    return 6 * matrices + 6 * scale.layers * scale.width * (mean_length + 1)
