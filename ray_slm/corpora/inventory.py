"""The phone inventory: which phones there are, in the order of their ids, and how they are spelled.

It is a file that a user can replace (``read_inventory``); the default is ``phones.txt`` beside
this module.  The value is part of a corpus and of the phone streams, so two inventories never mix.
"""

import dataclasses
import functools
import re
from pathlib import Path
from typing import ClassVar

SILENCE, NOISE = "SIL", "SPN"
DEFAULT_FILE = Path(__file__).with_name("phones.txt")
EMPTY = '""'  # how a file spells the empty label
_POSITION = re.compile(r"_[BEIS]$")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inventory:
    """Phones in the order of their ids; ``aliases`` are (other spelling, phone).

    SIL must be among the phones.  Position suffixes (_B _E _I _S) are stripped before look-up.
    """

    REVISION: ClassVar[int] = 1

    phones: tuple[str, ...]
    aliases: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        """Refuse an inventory without silence, or with a spelling of two phones."""
        spellings = [*self.phones, *(spelling for spelling, _ in self.aliases)]
        twice = sorted({s for s in spellings if spellings.count(s) > 1})
        unknown = sorted({phone for _, phone in self.aliases} - set(self.phones))
        if twice or unknown:
            raise ValueError(
                f"the phone inventory has {twice} twice and aliases of the unknown {unknown}; "
                "each spelling must stand for one phone of the list"
            )
        if SILENCE not in self.phones or len(self.phones) < 2:
            raise ValueError(
                f"the phone inventory has no {SILENCE}; add a line `{SILENCE} sil` with the "
                "aligner's spellings of silence after it"
            )

    def label(self, symbol: str) -> str | None:
        """The phone that an aligner's ``symbol`` stands for; None when it stands for none."""
        return _spellings(self).get(_POSITION.sub("", symbol.strip()))

    @property
    def ids(self) -> dict[str, int]:
        """The id of each phone."""
        return {phone: i for i, phone in enumerate(self.phones)}


@functools.lru_cache(maxsize=8)
def _spellings(inventory: Inventory) -> dict[str, str]:
    return {**{phone: phone for phone in inventory.phones}, **dict(inventory.aliases)}


@functools.cache
def read_inventory(path: Path = DEFAULT_FILE) -> Inventory:
    """The inventory of a text file: ``PHONE [OTHER SPELLING ...]`` a line, # for comments.

    Raises ValueError naming the file when it is missing or no inventory.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path} is no phone inventory ({error}); give a UTF-8 text file"
        ) from None
    rows = [line.split() for line in lines if line.split() and not line.startswith("#")]
    try:
        return Inventory(
            phones=tuple(row[0] for row in rows),
            aliases=tuple(
                ("" if spelling == EMPTY else spelling, row[0])
                for row in rows
                for spelling in row[1:]
            ),
        )
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


STRESSED_ARPABET = read_inventory()
