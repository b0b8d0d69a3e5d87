"""CTranslate2's Whisper file, read without CTranslate2: a plain container of named arrays.

The package that carries Whisper tiny.en carries it in this form; openai-whisper's own modules
take the weights once their names are mapped.  Layout: little-endian, container version 6.
"""

import itertools
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from whisper.model import Whisper

CONTAINER_VERSION = 6
DTYPES = {0: "<f4", 1: "<i1", 2: "<i2", 3: "<i4", 4: "<f2"}
SIDES = ("encoder", "decoder")
NORM = {"gamma": "weight", "beta": "bias"}
PLAIN = {
    "encoder/layer_norm": "encoder.ln_post",
    "decoder/layer_norm": "decoder.ln",
    "encoder/position_encodings/encodings": "encoder.positional_embedding",
    "decoder/position_encodings/encodings": "decoder.positional_embedding",
    "decoder/embeddings/weight": "decoder.token_embedding.weight",
}
BLOCK = {  # per layer: stored name -> module, or the modules whose rows are stacked in it
    "self_attention/layer_norm": ("attn_ln",),
    "self_attention/linear_0": ("attn.query", "attn.key", "attn.value"),
    "self_attention/linear_1": ("attn.out",),
    "attention/layer_norm": ("cross_attn_ln",),
    "attention/linear_0": ("cross_attn.query",),
    "attention/linear_1": ("cross_attn.key", "cross_attn.value"),
    "attention/linear_2": ("cross_attn.out",),
    "ffn/layer_norm": ("mlp_ln",),
    "ffn/linear_0": ("mlp.0",),
    "ffn/linear_1": ("mlp.2",),
}


class Container(NamedTuple):
    """A model file: its kind and its arrays; an alias shares the array of its target."""

    spec: str
    revision: int
    arrays: dict[str, np.ndarray]


class _Reader:
    """A cursor over the file's bytes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.data = path.read_bytes()
        self.at = 0

    def take(self, num_bytes: int) -> bytes:
        if self.at + num_bytes > len(self.data):
            raise ValueError(f"{self.path} is cut short at byte {len(self.data)}; fetch it again")
        self.at += num_bytes
        return self.data[self.at - num_bytes : self.at]

    def number(self, code: str) -> int:
        (value,) = struct.unpack(f"<{code}", self.take(struct.calcsize(code)))
        return int(value)

    def string(self) -> str:
        return self.take(self.number("H")).removesuffix(b"\0").decode()  # the NUL is counted

    def array(self) -> np.ndarray:
        shape = [self.number("I") for _ in range(self.number("B"))]
        code = self.number("B")
        if code not in DTYPES:
            raise ValueError(f"{self.path}: the data type {code} is none of {sorted(DTYPES)}")
        return np.frombuffer(self.take(self.number("I")), DTYPES[code]).reshape(shape)


def read_container(path: Path) -> Container:
    """All arrays of a CTranslate2 file, C order.  Raises ValueError for another layout."""
    reader = _Reader(path)
    found = reader.number("I")
    if found != CONTAINER_VERSION:
        raise ValueError(f"{path}: container version {found}, only {CONTAINER_VERSION} is read")
    spec, revision = reader.string(), reader.number("I")
    arrays = {}
    for _ in range(reader.number("I")):
        name = reader.string()
        arrays[name] = reader.array()
    for _ in range(reader.number("I")):
        alias, target = reader.string(), reader.string()
        arrays[alias] = arrays[target]
    if reader.at != len(reader.data):
        raise ValueError(f"{path}: {len(reader.data) - reader.at} bytes are left over")
    return Container(spec, revision, arrays)


def num_layers(arrays: dict[str, np.ndarray], side: str) -> int:
    """How many blocks the encoder or decoder has."""
    norms = (f"{side}/layer_{i}/ffn/layer_norm/gamma" for i in itertools.count())
    return sum(1 for _ in itertools.takewhile(arrays.__contains__, norms))


def whisper_state(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """openai-whisper's names (those of its ``state_dict``) to float32 arrays."""
    state: dict[str, np.ndarray] = {}
    for stored, module in PLAIN.items():
        if stored in arrays:
            state[module] = arrays[stored]
        else:
            _add(state, arrays, stored, (module,))
    for conv in ("conv1", "conv2"):
        _add(state, arrays, f"encoder/{conv}", (f"encoder.{conv}",))
    for side in SIDES:
        for layer in range(num_layers(arrays, side)):
            for stored, modules in BLOCK.items():
                if stored.startswith("attention/") and side == "encoder":
                    continue
                names = tuple(f"{side}.blocks.{layer}.{module}" for module in modules)
                _add(state, arrays, f"{side}/layer_{layer}/{stored}", names)
    return {name: array.astype(np.float32) for name, array in state.items()}


def _add(
    state: dict[str, np.ndarray],
    arrays: dict[str, np.ndarray],
    stored: str,
    modules: tuple[str, ...],
) -> None:
    """Split one stored weight and bias among modules.  Whisper's keys have no bias: it is zero."""
    parts = NORM if f"{stored}/gamma" in arrays else {"weight": "weight", "bias": "bias"}
    for part, name in parts.items():
        pieces = np.split(arrays[f"{stored}/{part}"], len(modules))
        for module, piece in zip(modules, pieces, strict=True):
            if module.endswith(".key") and name == "bias":
                assert not piece.any(), f"{stored}: Whisper's keys have no bias"
            else:
                state[f"{module}.{name}"] = piece


def dimensions(arrays: dict[str, np.ndarray]) -> dict[str, int]:
    """The fields of openai-whisper's ``ModelDimensions``, read off the arrays."""
    width, num_mels, _ = arrays["encoder/conv1/weight"].shape
    sizes = {
        "n_mels": num_mels,
        "n_vocab": len(arrays["decoder/embeddings/weight"]),
    }
    for side, short in zip(SIDES, ("audio", "text"), strict=True):
        sizes[f"n_{short}_ctx"] = len(arrays[f"{side}/position_encodings/encodings"])
        sizes[f"n_{short}_state"] = width
        sizes[f"n_{short}_head"] = int(arrays[f"{side}/num_heads"])
        sizes[f"n_{short}_layer"] = num_layers(arrays, side)
    return sizes


def load_whisper(path: Path) -> "Whisper":
    """A float32 openai-whisper model, every parameter of it from the file."""
    import torch
    from whisper.model import ModelDimensions, Whisper

    arrays = read_container(path).arrays
    model: Any = Whisper(ModelDimensions(**dimensions(arrays)))
    state = {name: torch.from_numpy(array) for name, array in whisper_state(arrays).items()}
    model.load_state_dict(state, strict=True)
    return model.eval()
