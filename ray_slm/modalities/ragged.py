"""Rows of unequal length as one flat array and a length per row, so that kernels see no rows.

Legend: B rows, N values of all rows one after the other.
"""

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


class Ragged(NamedTuple):
    """All values (N,), and how many of them each row (B,) has."""

    flat_N: np.ndarray
    lengths_B: np.ndarray


def starts(lengths_B: np.ndarray) -> np.ndarray:
    """int64 (B,): where each row begins."""
    begins: np.ndarray = np.cumsum(lengths_B, dtype=np.int64) - lengths_B
    return begins


def row_sums(values_N: np.ndarray, lengths_B: np.ndarray) -> np.ndarray:
    """int64 (B,): the sum of each row's values; 0 for an empty row."""
    total = np.zeros(len(values_N) + 1, dtype=np.int64)
    np.cumsum(values_N, out=total[1:])
    ends_B = np.cumsum(lengths_B, dtype=np.int64)
    sums: np.ndarray = total[ends_B] - total[ends_B - lengths_B]
    return sums


def without_rows(rows: Ragged, dropped_B: np.ndarray) -> Ragged:
    """The same rows, those that are dropped being empty."""
    if not dropped_B.any():
        return rows
    kept_N = np.repeat(~dropped_B, rows.lengths_B)
    return Ragged(rows.flat_N[kept_N], np.where(dropped_B, 0, rows.lengths_B))


def gather(table: Ragged, rows_W: np.ndarray) -> Ragged:
    """The rows of a table in the order asked for, each as often as asked for."""
    lengths_W = table.lengths_B[rows_W]
    shift_W = starts(table.lengths_B)[rows_W] - starts(lengths_W)
    places_N = np.arange(lengths_W.sum()) + np.repeat(shift_W, lengths_W)
    return Ragged(table.flat_N[places_N], lengths_W)


def array(table: pa.Table, column: str) -> pa.Array:
    """A column of a table in one piece, without nulls."""
    whole = table[column].combine_chunks()
    assert whole.null_count == 0, f"{column} has nulls"
    return whole


def text_bytes(texts: pa.Array) -> Ragged:
    """UTF-8 bytes of a string array, uint8 (N,)."""
    texts = texts.cast(pa.large_string())
    _, offsets, values = texts.buffers()
    bounds = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    codes = np.frombuffer(values, np.uint8) if values else np.zeros(0, np.uint8)
    return Ragged(codes[bounds[0] : bounds[-1]], np.diff(bounds))


def list_values(lists: pa.Array) -> tuple[pa.Array, np.ndarray]:
    """The values of a list array, and int64 (B,) the length of each list."""
    lengths = pc.list_value_length(lists).to_numpy(zero_copy_only=False)
    return lists.flatten(), lengths.astype(np.int64)


def strings(flat: bytes | memoryview, lengths_B: np.ndarray) -> pa.Array:
    """A string array over UTF-8 bytes."""
    return strings_between(flat, np.concatenate([[0], np.cumsum(lengths_B, dtype=np.int64)]))


def strings_between(flat: bytes | memoryview, bounds: np.ndarray) -> pa.Array:
    """A string array over UTF-8 bytes; ``bounds`` int64 (B + 1,) is where each begins, the end."""
    return pa.LargeStringArray.from_buffers(
        len(bounds) - 1, pa.py_buffer(bounds), pa.py_buffer(flat)
    )
