"""SentencePiece BPE as both BPE modalities use it: no specials of its own, every id a piece.

SentencePiece insists on an unknown piece; it gets the number 0 there and is dropped here, so ids
are 0..V-1 with nothing wasted.  Every symbol of the alphabet is a piece, seen in training or not,
hence what the raw modality accepts the BPE modality accepts too.  Training is deterministic.
"""

import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

MODEL_FILE = "pieces.model"
UNKNOWN = 0  # SentencePiece's own number; ids here are its numbers minus one
MAX_SENTENCE_BYTES = 1 << 16  # longer sentences would be left out of training in silence
OPTIONS: dict[str, Any] = {
    "model_type": "bpe",
    "num_threads": 1,
    "character_coverage": 1.0,
    "normalization_rule_name": "identity",
    "add_dummy_prefix": False,
    "remove_extra_whitespaces": False,
    "hard_vocab_limit": False,
    "unk_id": UNKNOWN,
    "bos_id": -1,
    "eos_id": -1,
    "pad_id": -1,
    "max_sentence_length": MAX_SENTENCE_BYTES,
    "minloglevel": 2,
}


def fit_pieces(
    sentences: Iterable[str], num_pieces: int, *, alphabet: str, by_script: bool, name: str
) -> "Pieces":
    """Fit ``num_pieces`` pieces; the alphabet's symbols are among them.

    ``by_script`` forbids pieces that mix letters, digits and punctuation.  ``name`` is the
    modality's, for messages.  Raises ValueError when the data cannot fill so many pieces, or the
    alphabet alone needs more.
    """
    sentences = list(sentences)
    if not sentences:
        raise ValueError(f"{name}: no training sentence is left; see the corpus's quarantine")
    if num_pieces < len(alphabet):
        raise ValueError(
            f"{name}: {num_pieces} pieces are too few, the alphabet alone has {len(alphabet)}; "
            "raise vocab_size"
        )
    # required_chars skips what is unseen: a line per symbol makes each one a piece.
    pieces = _trained([*sentences, *alphabet.replace(" ", "")], num_pieces, by_script)
    if pieces.num_pieces < num_pieces:
        raise ValueError(
            f"{name}: {num_pieces} pieces were asked for, but the training sentences give "
            f"{pieces.num_pieces} at most; lower vocab_size by {num_pieces - pieces.num_pieces} "
            "or more, or train on more sentences"
        )
    return pieces


def _trained(lines: Sequence[str], num_pieces: int, by_script: bool) -> "Pieces":
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=model,
        vocab_size=num_pieces + 1,
        split_by_unicode_script=by_script,
        split_by_number=by_script,
        **OPTIONS,
    )
    return Pieces(model.getvalue())


class Pieces:
    """A fitted set of pieces: strings to ids 0..num_pieces-1 and back."""

    def __init__(self, model: bytes) -> None:
        import sentencepiece

        self.model = model
        self._processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        self.num_pieces: int = self._processor.get_piece_size() - 1

    @classmethod
    def read(cls, vocabulary: Path) -> "Pieces":
        """The pieces of a vocabulary's folder."""
        return cls((vocabulary / MODEL_FILE).read_bytes())

    def write(self, vocabulary: Path) -> None:
        """Write the pieces into a vocabulary's folder."""
        vocabulary.mkdir(parents=True, exist_ok=True)
        (vocabulary / MODEL_FILE).write_bytes(self.model)

    def encode(self, sentences: Sequence[str]) -> list[np.ndarray]:
        """int64 ids (T,) per sentence; the symbols were checked before, so none is unknown."""
        encoded = self._processor.encode(list(sentences), num_threads=1)
        ids = [np.asarray(numbers, dtype=np.int64) - 1 for numbers in encoded]
        assert all((one >= 0).all() for one in ids), "a symbol outside the alphabet came through"
        return ids

    def decode(self, ids_T: np.ndarray) -> str:
        """The string whose pieces these are, spaces included."""
        pieces = [self._processor.id_to_piece(int(i) + 1) for i in ids_T]
        return "".join(pieces).replace("\u2581", " ")
