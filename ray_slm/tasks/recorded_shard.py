"""A shard of recorded items: audio decoded and aligned to what the gold file says of it.

Words that no dictionary has (the non-words) are aligned to the gold file's own phones, all others
to their text.  A form that does not exist stays empty, and streams that need it refuse the item.
Legend: S samples at 16 kHz.
"""

import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ray_slm.corpora.aligner import ALIGNED_BY, Aligner, guessed_stress
from ray_slm.corpora.alignment import Alignment, AlignmentError, validated
from ray_slm.corpora.alignments.forced import ForcedAlignment
from ray_slm.corpora.inventory import Inventory
from ray_slm.corpora.lexicon import VOWELS
from ray_slm.corpora.shard import ShardInTheMaking
from ray_slm.corpora.synthesis import audio_name
from ray_slm.corpora.utterance import SAMPLE_RATE_HZ, Quarantined, Utterance, shard_of
from ray_slm.corpora.validate import BadItem, decode, transcript
from ray_slm.tasks.items import SPLIT, pair_of
from ray_slm.tasks.recorded import Recording, named

NOT_READABLE = "text that cannot be read"
UNTIMED = "no audio: phones without times"
_FORCED = ForcedAlignment()


class Forms(NamedTuple):
    """What an item has: int16 audio (S,), text and aligned phones; empty where there is none."""

    pcm_S: np.ndarray
    text: str
    phones: tuple[str, ...]
    ends: tuple[int, ...]
    aligned_by: str


def our_phones(recordings: Sequence[Recording], spellings: Inventory) -> dict[str, tuple[str, ...]]:
    """The gold phones of each recording as ours; ValueError names symbols that are unknown.

    Vowels without a stress digit get one: the first vowel is stressed.
    """
    symbols = {symbol for each in recordings for symbol in each.phones}
    known = {symbol: _label(symbol, spellings) for symbol in symbols}
    unknown = [symbol for symbol, label in known.items() if label is None]
    if unknown:
        raise ValueError(
            f"the gold file spells phones that are none of ours: {named(unknown)}; put a "
            "phones.txt beside it, with a line `PHONE SPELLING ...` for each phone"
        )
    found = {}
    for each in recordings:
        labels = [str(known[symbol]) for symbol in each.phones]
        bare = [label for label in labels if label in VOWELS]
        found[each.id] = guessed_stress(labels, []) if bare else tuple(labels)
    return found


def _label(symbol: str, spellings: Inventory) -> str | None:
    upper = symbol.upper()
    return spellings.label(symbol) or spellings.label(upper) or (upper if upper in VOWELS else None)


def prepare_recordings(
    recordings: Sequence[Recording],
    shard: int,
    num_shards: int,
    folder: Path,
    root: Path,
    places: Mapping[str, Path],
    spellings: Inventory,
) -> None:
    """Write one shard: its audio, its quarantine and its table.  Ids in = ids out + quarantined."""
    import soundfile

    own = sorted((r for r in recordings if shard_of(r.id, num_shards) == shard), key=lambda r: r.id)
    phones = our_phones(own, spellings)
    made, start = ShardInTheMaking(), 0
    (folder / "scratch").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder / "scratch") as scratch:
        path = Path(scratch) / "shard.wav"
        with soundfile.SoundFile(path, "w", SAMPLE_RATE_HZ, 1, "PCM_16") as wave:
            for each in own:
                try:
                    forms = _forms(each, root, phones[each.id], places)
                except (BadItem, AlignmentError) as error:
                    made.quarantined.append(_quarantine(each, error))
                    continue
                wave.write(forms.pcm_S)
                made.counts[NOT_READABLE] += bool(each.text) and not forms.text
                made.utterances.append(_utterance(each, forms, shard, start))
                start += len(forms.pcm_S)
        made.publish(folder, shard, audio=(path, audio_name(shard)))


def _forms(
    recording: Recording, root: Path, phones: tuple[str, ...], places: Mapping[str, Path]
) -> Forms:
    text = _readable(recording.text)
    if not recording.audio:
        nothing = np.zeros(0, dtype=np.int16)
        return Forms(nothing, text, phones, (), UNTIMED)
    samples_S = decode(root / recording.audio)
    pcm_S = np.clip(np.round(samples_S * 32768), -32768, 32767).astype(np.int16)
    found = _aligned(recording, text, phones, pcm_S, places)
    if found is None:
        return Forms(pcm_S, text, (), (), "nothing")
    return Forms(pcm_S, text, found.phones, found.ends, ALIGNED_BY)


def _aligned(
    recording: Recording,
    text: str,
    phones: tuple[str, ...],
    pcm_S: np.ndarray,
    places: Mapping[str, Path],
) -> Alignment | None:
    """The alignment to the gold phones, else to the text, else None."""
    if phones:
        words = _word_for(phones)
        timed = _FORCED.timed(_gold_aligner(phones), recording.id, pcm_S, words)
    elif text:
        timed = _FORCED.timed(_FORCED.load(places), recording.id, pcm_S, text)
    else:
        return None
    return validated(timed.symbols, timed.starts, timed.ends, len(pcm_S))


def _word_for(phones: tuple[str, ...]) -> str:
    """A word that no dictionary has, for these phones."""
    return "xq" + "x".join("".join(c for c in phone.lower() if c.isalpha()) for phone in phones)


@cache
def _shared_lexicon() -> tuple[dict[str, list[tuple[str, ...]]], Aligner]:
    """One decoder per process, and the lexicon it learns from: loading takes a second."""
    lexicon: dict[str, list[tuple[str, ...]]] = {}
    return lexicon, Aligner(lexicon, None)


def _gold_aligner(phones: tuple[str, ...]) -> Aligner:
    lexicon, aligner = _shared_lexicon()
    lexicon[_word_for(phones)] = [phones]
    return aligner


def _readable(text: str) -> str:
    """The text in our symbols, or nothing."""
    try:
        return transcript(text.encode()).text if text else ""
    except BadItem:
        return ""


def _utterance(recording: Recording, forms: Forms, shard: int, start: int) -> Utterance:
    return Utterance(
        id=recording.id,
        split=SPLIT,
        speaker=recording.voice,
        book=pair_of(recording.id),
        transcript=forms.text,
        audio=audio_name(shard),
        start=start,
        num_samples=len(forms.pcm_S),
        phones=forms.phones,
        ends=forms.ends,
        aligned_by=forms.aligned_by,
    )


def _quarantine(recording: Recording, error: BadItem | AlignmentError) -> Quarantined:
    return Quarantined(
        id=recording.id,
        stage="items",
        reason=error.reason,
        detail=error.detail,
        path=recording.audio,
    )
