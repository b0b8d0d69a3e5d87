"""Ids as letters, because SentencePiece reads strings: one character per phone or speech unit.

Unicode's private use area begins with the 6,400 letters U+E000 to U+F8FF, three bytes each in
UTF-8, and no normalization or script rule knows them.  Legend: N ids, B rows.
"""

import numpy as np
import pyarrow as pa

from ray_slm.modalities.ragged import Ragged, strings

FIRST, LAST = 0xE000, 0xF8FF
LETTERS = "".join(map(chr, range(FIRST, LAST + 1)))


def as_strings(rows: Ragged) -> pa.Array:
    """One string per row of ids, each below ``len(LETTERS)``."""
    assert rows.flat_N.max(initial=0) < len(LETTERS), "more units than letters"
    code_N = rows.flat_N.astype(np.uint32) + FIRST
    bytes_N3 = np.stack([0xE0 | code_N >> 12, 0x80 | code_N >> 6 & 0x3F, 0x80 | code_N & 0x3F], 1)
    return strings(bytes_N3.astype(np.uint8).tobytes(), 3 * rows.lengths_B)
