"""The phone inventory, and pronouncing dictionaries that are written in it.

Phones are ARPAbet: 24 consonants, 15 vowels with a stress digit each (0 none, 1 primary,
2 secondary), SIL for silence and SPN for noise: the 71 of the default inventory.
"""

import importlib.util
import re
from collections.abc import Iterable
from pathlib import Path

from ray_slm.corpora.inventory import NOISE as NOISE
from ray_slm.corpora.inventory import SILENCE as SILENCE
from ray_slm.corpora.inventory import STRESSED_ARPABET

_VOWELS = "AA AE AH AO AW AY EH ER EY IH IY OW OY UH UW"
_CONSONANTS = "B CH D DH F G HH JH K L M N NG P R S SH T TH V W Y Z ZH"
VOWELS: tuple[str, ...] = tuple(_VOWELS.split())
CONSONANTS: tuple[str, ...] = tuple(_CONSONANTS.split())
PHONES: tuple[str, ...] = STRESSED_ARPABET.phones
PHONE_SET = frozenset(PHONES)
_STRESSLESS = frozenset([*CONSONANTS, *VOWELS])
_VARIANT = re.compile(r"\(\d+\)$")

Pronunciations = dict[str, list[tuple[str, ...]]]


def without_stress(phones: Iterable[str]) -> tuple[str, ...]:
    """The same phones without stress digits."""
    return tuple(phone.rstrip("012") for phone in phones)


def read_cmudict(path: Path) -> Pronunciations:
    """Pronunciations by lower-cased word, most usual first, from a CMUdict text file.

    Entries are ``word PHONE PHONE``, variants ``word(2) ...``; text after ``#`` or on lines
    beginning with ``;;;`` is comment.  Raises ValueError on a phone outside the inventory.
    """
    return _read_dictionary(path, PHONE_SET)


def pocketsphinx_pronunciations() -> Pronunciations:
    """The stressless dictionary that comes with the pocketsphinx package (134k entries)."""
    spec = importlib.util.find_spec("pocketsphinx")
    if spec is None or spec.origin is None:
        raise ValueError("pocketsphinx is not installed; run `pip install pocketsphinx`")
    path = Path(spec.origin).parent / "model" / "en-us" / "cmudict-en-us.dict"
    return _read_dictionary(path, _STRESSLESS)


def _read_dictionary(path: Path, inventory: frozenset[str]) -> Pronunciations:
    pronunciations: Pronunciations = {}
    for number, line in enumerate(path.read_text(encoding="latin-1").splitlines(), start=1):
        entry, *phones = line.split("#")[0].split() or [""]
        if not entry or line.startswith(";;;"):
            continue
        if not phones or not inventory.issuperset(phones):
            raise ValueError(f"{path}:{number}: {entry!r} has the phones {phones}, not all ARPAbet")
        word = _VARIANT.sub("", entry.lower())
        pronunciations.setdefault(word, []).append(tuple(phones))
    return pronunciations
