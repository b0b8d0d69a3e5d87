"""A corpus of made-up sentences for benchmarks: English words as often as they are used, with
their phones in intervals of 40 to 150 ms.

Only its shape matters: ids and lengths like Libriheavy's (15 s on average), as many words,
characters and phones per second as speech has.  A corpus folder is written as a corpus would be,
so the code under test is the whole of it.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
import pyarrow as pa

from ray_slm import parquet
from ray_slm.corpora.assets import locate
from ray_slm.corpora.lexicon import PHONES, SILENCE, read_cmudict
from ray_slm.corpora.utterance import SCHEMA, shard_of, shard_path
from ray_slm.modalities.ragged import Ragged, gather, row_sums

NUM_WORDS = 30_000
MEAN_WORDS = 40
CUTS_PER_CHAPTER, CHAPTERS_PER_BOOK = 80, 20
PHONE_SAMPLES = (640, 2_400)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sentences:
    """``num_sentences`` in ``num_shards``, one in fifty held out."""

    REVISION: ClassVar[int] = 1
    name: ClassVar[str] = "sentences"
    max_bad_fraction: ClassVar[float] = 0.0

    num_sentences: int
    num_shards: int
    seed: int = 0

    def prepare(self, folder: Path, places: Mapping[str, Path]) -> None:
        """Write every shard."""
        rng = np.random.default_rng(self.seed)
        lexicon = _lexicon(places)
        ids = np.array(sorted(map(_id, range(self.num_sentences))))
        shard_B = np.array([shard_of(one, self.num_shards) for one in ids.tolist()])
        for shard in range(self.num_shards):
            table = _table(ids[shard_B == shard], lexicon, rng, f"shard-{shard:05d}.flac")
            parquet.write_table(shard_path(folder, shard), table)

    def speak(self, folder: Path) -> None:
        """Write the audio of every shard: a tone per phone, in noise."""
        import soundfile

        hertz = 150 + 45 * np.arange(len(PHONES))
        for shard in range(self.num_shards):
            table = parquet.read_table(shard_path(folder, shard))
            ends = table["ends"].combine_chunks().flatten().to_numpy()
            durations = np.diff(ends, prepend=0)
            durations[durations <= 0] = ends[durations <= 0]
            phones = table["phones"].combine_chunks().flatten().to_pylist()
            tones = np.repeat(hertz[[PHONES.index(phone) for phone in phones]], durations)
            samples = 0.3 * np.sin(2 * np.pi * np.cumsum(tones) / 16_000)
            noise = np.random.default_rng(shard).normal(0, 0.01, len(samples))
            soundfile.write(folder / table["audio"][0].as_py(), samples + noise, 16_000)

    def prepare_shard(self, shard: int, folder: Path, places: Mapping[str, Path]) -> None:
        """All shards are written at once."""
        raise NotImplementedError("call prepare")

    def finish(self, folder: Path) -> dict[str, object]:
        """Nothing to check."""
        raise NotImplementedError("call prepare")


def _id(number: int) -> str:
    chapter, cut = divmod(number, CUTS_PER_CHAPTER)
    book, chapter = divmod(chapter, CHAPTERS_PER_BOOK)
    recording = f"novel_{book:05d}_librivox_64kb_mp3/{chapter + 1:02d}_novel_{book:05d}_64kb"
    return f"large/{book * 617 % 6_007}/{recording}_{cut}"


class Lexicon(NamedTuple):
    """Words (W,), their shares of English text, and their phone ids with a pause after the last."""

    words: np.ndarray
    shares: np.ndarray
    phones: Ragged


def _lexicon(places: Mapping[str, Path]) -> Lexicon:
    from wordfreq import top_n_list, word_frequency

    entries = read_cmudict(locate(places, "cmudict"))
    words = [word for word in top_n_list("en", NUM_WORDS) if word.isalpha() and word in entries]
    shares = np.array([word_frequency(word, "en") for word in words])
    ids = {phone: i for i, phone in enumerate(PHONES)}
    spoken = [*([ids[phone] for phone in entries[word][0]] for word in words), [ids[SILENCE]]]
    lengths = np.array([len(one) for one in spoken])
    return Lexicon(np.array(words), shares / shares.sum(), Ragged(np.concatenate(spoken), lengths))


def _table(ids: np.ndarray, lexicon: Lexicon, rng: np.random.Generator, audio: str) -> pa.Table:
    """Sentences with those ids, as a corpus's table."""
    words, shares, phones = lexicon
    sizes = np.maximum(rng.poisson(MEAN_WORDS, len(ids)), 2)
    ranks = rng.choice(len(words), sizes.sum(), p=shares)
    bounds = np.cumsum(sizes)
    texts = [" ".join(part).capitalize() + "." for part in np.split(words[ranks], bounds[:-1])]
    pauses = np.insert(ranks, bounds, len(words))  # a pause ends each sentence
    spoken = gather(phones, pauses)
    lengths = row_sums(spoken.lengths_B, sizes + 1)
    durations = rng.integers(*PHONE_SAMPLES, len(spoken.flat_N))
    total = row_sums(durations, lengths)
    ends = np.cumsum(durations) - np.repeat(np.cumsum(total) - total, lengths)
    names = pa.DictionaryArray.from_arrays(pa.array(spoken.flat_N, pa.int32()), list(PHONES))
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    columns = {
        "id": ids,
        "split": np.where(np.arange(len(ids)) % 50 == 0, "dev", "train"),
        "speaker": ["one"] * len(ids),
        "book": ["none"] * len(ids),
        "transcript": texts,
        "audio": [audio] * len(ids),
        "start": np.cumsum(total) - total,
        "num_samples": total,
        "phones": pa.ListArray.from_arrays(offsets, names.cast(pa.string())),
        "ends": pa.ListArray.from_arrays(offsets, pa.array(ends)),
        "aligned_by": ["nobody"] * len(ids),
    }
    return pa.table([pa.array(columns[name]) for name in SCHEMA.names], schema=SCHEMA)
