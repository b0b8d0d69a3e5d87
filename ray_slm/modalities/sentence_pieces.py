"""SentencePiece BPE as both BPE modalities use it: no specials of its own, every id a piece.

SentencePiece insists on an unknown piece; it gets the number 0 there and is dropped here, so ids
are 0..V-1 with nothing wasted.  Every symbol of the alphabet is a piece, seen in training or not,
hence what the raw modality accepts the BPE modality accepts too.  Training is deterministic.
"""

import dataclasses
import io
import itertools
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ray_slm.modalities.ragged import Ragged

MODEL_FILE = "pieces.model"
SPACE = "\u2581"
MAX_WORDS = 1 << 16  # distinct words whose pieces are remembered: nearly all of English text
WORDS_PER_CALL = 32
WORDS_AT_ONCE = 1 << 16  # whose ids are looked up together
SENTENCES_PER_CALL = 512  # its lists of Python numbers take 18 times the memory of ids
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fitting:
    """What to fit: ``num_pieces``, the alphabet's symbols among them.

    ``by_script`` forbids pieces that mix letters, digits and punctuation.  ``name`` is the
    modality's, for messages.
    """

    num_pieces: int
    alphabet: str
    by_script: bool
    name: str


def fit_pieces(sentences: Iterable[str], fitting: Fitting) -> "Pieces":
    """Fit pieces on sentences in the alphabet.

    Raises ValueError when the data cannot fill so many, or the alphabet alone needs more.
    """
    name, num_pieces, alphabet = fitting.name, fitting.num_pieces, fitting.alphabet
    sentences = list(sentences)
    if not sentences:
        raise ValueError(f"{name}: no training sentence is left; see the corpus's quarantine")
    if num_pieces < len(alphabet):
        raise ValueError(
            f"{name}: {num_pieces} pieces are too few, the alphabet alone has {len(alphabet)}; "
            "raise vocab_size"
        )
    # required_chars skips what is unseen: a line per symbol makes each one a piece.
    pieces = _trained([*sentences, *alphabet.replace(" ", "")], num_pieces, fitting.by_script)
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


def fitting_summary(vocab_size: int, *, num_sentences: int, num_refused: int) -> dict[str, object]:
    """What a fitted vocabulary's record says."""
    return {
        "vocab_size": vocab_size,
        "num_sentences": num_sentences,
        "num_refused": num_refused,
        "sentencepiece": version("sentencepiece"),
    }


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

    def encode(self, sentences: Sequence[str]) -> Ragged:
        """uint16 ids of each sentence; the symbols were checked before, so none is unknown."""
        parts = [
            self._encode(sentences[i : i + SENTENCES_PER_CALL])
            for i in range(0, len(sentences), SENTENCES_PER_CALL)
        ] or [self._encode([])]
        return Ragged(*map(np.concatenate, zip(*parts, strict=True)))

    def _encode(self, sentences: Sequence[str]) -> Ragged:
        encoded = self._processor.encode(list(sentences), num_threads=1)
        lengths_B = np.fromiter(map(len, encoded), np.int64, len(encoded))
        numbers = itertools.chain.from_iterable(encoded)
        ids_N = np.fromiter(numbers, np.int64, lengths_B.sum()) - 1
        assert ids_N.min(initial=0) >= 0, "a symbol outside the alphabet came through"
        return Ragged(ids_N.astype(np.uint16), lengths_B)

    def decode(self, ids_T: np.ndarray) -> str:
        """The string whose pieces these are, spaces included."""
        pieces = [self._processor.id_to_piece(int(i) + 1) for i in ids_T]
        return "".join(pieces).replace(SPACE, " ")


class WordTable:
    """The pieces of every distinct word met so far, each word encoded once.

    SentencePiece cuts training text at spaces, so no piece holds a space beyond its beginning and
    no merge ever joins two words: the ids of a sentence are those of its words, one after the
    other.  A model of which this does not hold is refused.
    """

    def __init__(self, pieces: Pieces) -> None:
        texts = [pieces.decode(np.array([i])) for i in range(pieces.num_pieces)]
        self._begins = np.array([text.startswith(" ") for text in texts])
        if crossing := [text for text in texts if " " in text[1:]]:
            raise ValueError(f"the piece {crossing[0]!r} crosses words; fit the vocabulary again")
        self._pieces = pieces
        self._words = pa.array([], pa.large_string())
        self._ids = self._encoded(self._words)

    def encode(self, words: pa.Array) -> Ragged:
        """The ids of each word of a string array; all but an utterance's first begin with a space.

        The first has its ids with a space in front, as SentencePiece has been fitted.
        """
        rows, ids = self._found(words)
        parts = [
            _taken(ids, rows.slice(first, WORDS_AT_ONCE))
            for first in range(0, len(rows), WORDS_AT_ONCE)
        ] or [_taken(ids, rows)]
        return Ragged(*map(np.concatenate, zip(*parts, strict=True)))

    def _found(self, words: pa.Array) -> tuple[pa.Array, pa.Array]:
        """The row of each word in a list of ids per distinct word, and that list."""
        rows = pc.index_in(words, value_set=self._words)
        known, ids = self._words, self._ids
        if rows.null_count:
            missing = rows.is_null()
            others = words.filter(missing)
            new = others.unique()
            of_new = pc.add(pc.index_in(others, value_set=new), pa.scalar(len(known), pa.int32()))
            rows = pc.replace_with_mask(rows, missing, of_new)
            known = pa.concat_arrays([known, new])
            ids = pa.concat_arrays([ids, self._encoded(new)])
            if len(known) <= MAX_WORDS:  # what is rarer is encoded whenever it comes
                self._words, self._ids = known, ids
        return rows, ids

    def _encoded(self, words: pa.Array) -> pa.Array:
        """A list of ids per word; a call for every few words, as each costs microseconds."""
        texts = [word if word.startswith(" ") else f" {word}" for word in words.to_pylist()]
        groups = range(0, len(texts), WORDS_PER_CALL)
        found = self._pieces.encode(["".join(texts[i : i + WORDS_PER_CALL]) for i in groups])
        bounds = np.append(np.flatnonzero(self._begins[found.flat_N]), len(found.flat_N))
        assert len(bounds) == len(texts) + 1, "every word begins with one space"
        return pa.ListArray.from_arrays(
            pa.array(bounds, pa.int32()), pa.array(found.flat_N, pa.uint16())
        )


def _taken(lists: pa.Array, rows: pa.Array) -> Ragged:
    """Some rows of a list array; lengths are int32."""
    found = lists.take(rows)
    return Ragged(found.flatten().to_numpy(), pc.list_value_length(found).to_numpy())
