"""The transcript in the pieces of a model that was made elsewhere, by its own tokenizer.

Machinery of `evaluate`: such a model reads text in no modality of a study.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from ray_slm.corpora.utterance import Quarantined
from ray_slm.modalities.modality import Form, Tokens, Waveform, refuse

FILES = ("tokenizer.json", "tokenizer.model", "vocab.json")
MOST_IDS = 65_533  # what ids of 16 bits leave, three specials aside


class BorrowedTokenizer:
    """A fast tokenizer of ``transformers``; no specials are added."""

    def __init__(self, tokenizer: Any) -> None:
        self.vocab_size = len(tokenizer)
        self._tokenizer = tokenizer

    def tokenize(self, table: pa.Table, waveform: Waveform) -> Tokens:
        """The pieces of each transcript; empty ones (EMPTY) are refused."""
        texts = table["transcript"].to_pylist()
        ids = [self._tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
        refused: dict[int, Quarantined] = {
            row: refuse(table["id"][row].as_py(), "EMPTY", "the transcript has no piece")
            for row, found in enumerate(ids)
            if not found
        }
        flat = [piece for found in ids for piece in found]
        lengths_B = np.array([len(found) for found in ids], dtype=np.int64)
        return Tokens(np.array(flat, dtype=np.uint16), lengths_B, refused)


@dataclasses.dataclass(frozen=True, kw_only=True)
class BorrowedText:
    """The stream of a model's own pieces; ``digest`` is of the folder at ``place``."""

    REVISION: ClassVar[int] = 1
    form = Form.TEXT

    place: str
    digest: str

    def load(self, vocabulary: Path | None, places: Mapping[str, Path]) -> BorrowedTokenizer:
        """The tokenizer.  Raises ValueError when there is none, or it has too many pieces."""
        from transformers import AutoTokenizer

        folder = places[self.place]
        lacks = f"{folder} has no tokenizer that transformers opens"
        remedy = "if the model reads units, name the modality they belong to: --modality NAME"
        if not any((folder / name).is_file() for name in FILES):
            raise ValueError(f"{lacks}, none of {', '.join(FILES)}; {remedy}")
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError, KeyError) as error:
            raise ValueError(f"{lacks} ({error}); {remedy}") from error
        if len(tokenizer) > MOST_IDS:
            raise ValueError(
                f"{folder}: its tokenizer has {len(tokenizer)} pieces, and token stores hold at "
                f"most {MOST_IDS}: evaluate a model with a smaller vocabulary"
            )
        return BorrowedTokenizer(tokenizer)
