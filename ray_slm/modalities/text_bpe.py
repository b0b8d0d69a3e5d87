"""Text-BPE: SentencePiece pieces of the transcript, the topline of the paper (section 3).

Pieces do not cross words, so each distinct word of a batch is encoded once and looked up after
that: the ids equal those of whole sentences, an order of magnitude faster.
Legend: T tokens, W words of the batch.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ray_slm.corpora.text import TEXT_SYMBOLS
from ray_slm.corpora.utterance import Quarantined, Utterance
from ray_slm.modalities.modality import Form, Modality, Waveform
from ray_slm.modalities.sampling import sample_by_hash
from ray_slm.modalities.sentence_pieces import Pieces, fit_pieces
from ray_slm.modalities.text_raw import refusal, symbol_ids

NAME = "text-bpe"


class TextBpeTokenizer:
    """Transcripts to piece ids and back."""

    def __init__(self, pieces: Pieces) -> None:
        self.vocab_size = pieces.num_pieces
        self._pieces = pieces

    def tokenize(
        self, utterances: Sequence[Utterance], waveform: Waveform
    ) -> list[np.ndarray | Quarantined]:
        """uint16 ids (T,) per transcript; symbols that Text-Raw refuses are refused here too."""
        symbols = symbol_ids([utterance.transcript for utterance in utterances])
        found: list[np.ndarray | Quarantined | None] = [
            refusal(u, ids) for u, ids in zip(utterances, symbols, strict=True)
        ]
        good = [i for i, refused in enumerate(found) if refused is None]
        encoded = self._encode([utterances[i].transcript for i in good])
        for i, ids_T in zip(good, encoded, strict=True):
            found[i] = ids_T
        return [one for one in found if one is not None]

    def decode(self, ids_T: np.ndarray) -> str:
        """The text with these ids."""
        return self._pieces.decode(ids_T).removeprefix(" ")

    def _encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        if not texts:
            return []
        words = pc.split_pattern(pa.array(texts, pa.large_string()), " ")
        distinct = words.flatten().dictionary_encode()
        word_W = distinct.indices.to_numpy()
        table = self._pieces.encode([f" {word}" for word in distinct.dictionary.to_pylist()])
        size = np.array([len(ids) for ids in table])
        start, flat = np.cumsum(size) - size, np.concatenate(table)
        size_W = size[word_W]
        end_W = np.cumsum(size_W)
        shift_W = start[word_W] - (end_W - size_W)  # from a place in the batch to one in the table
        ids = flat[np.arange(end_W[-1]) + np.repeat(shift_W, size_W)].astype(np.uint16)
        return np.split(ids, end_W[words.offsets.to_numpy()[1:-1] - 1])


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextBpe:
    """The stream of pieces: ``vocab_size`` of them, fitted on training transcripts.

    More than ``max_sentences`` are sampled by hash of the id; ``seed`` matters only then.
    """

    REVISION: ClassVar[int] = 1
    form = Form.TEXT
    fits = True

    vocab_size: int = 2048
    max_sentences: int = 1_000_000
    seed: int = 0

    def fit(
        self,
        utterances: Iterable[Utterance],
        waveform: Waveform,
        folder: Path,
        places: Mapping[str, Path],
    ) -> dict[str, object]:
        """Fit and write the pieces.  Raises ValueError when the data cannot fill them."""
        chosen = sample_by_hash(utterances, self.max_sentences, lambda _: 1, self.seed)
        symbols = symbol_ids([u.transcript for u in chosen])
        texts = [
            u.transcript for u, ids in zip(chosen, symbols, strict=True) if not refusal(u, ids)
        ]
        pieces = fit_pieces(
            (f" {text}" for text in texts),
            self.vocab_size,
            alphabet="".join(TEXT_SYMBOLS),
            by_script=True,
            name=NAME,
        )
        pieces.write(folder)
        return {
            "vocab_size": pieces.num_pieces,
            "num_sentences": len(texts),
            "num_refused": len(chosen) - len(texts),
            "sentencepiece": version("sentencepiece"),
        }

    def load(self, vocabulary: Path | None, places: Mapping[str, Path]) -> TextBpeTokenizer:
        """The tokenizer with the fitted pieces."""
        assert vocabulary is not None, "Text-BPE needs its fitted vocabulary"
        return TextBpeTokenizer(Pieces.read(vocabulary))


MODALITY = Modality(name=NAME, stream=TextBpe(), nominal_tokens_per_second=4.5)
