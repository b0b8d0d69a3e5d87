"""Which sequences are scored in which row and batch, decided from their content alone.

Identical sequences stand once; sequences that begin alike may share a row, their common beginning
computed once; rows of one padded length form a batch.  A shared row is a tree: what a token
continues, it sees, and nothing else.
Legend: B rows of a batch, T columns, G gathered predictions.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from ray_slm.training.attention import seen_until
from ray_slm.training.packing import PADDING_DOCUMENT

MIN_BATCH_TOKENS = 64  # matrix products of fewer rows take another kernel, which rounds otherwise
ATTENTION_COLUMNS = 1024  # of a row in which attention costs as much as everything else


class Specials(NamedTuple):
    """Ids beyond the units: what begins a sequence, what ends it, and what fills rows."""

    bos: int
    eos: int
    pad: int


class Row(NamedTuple):
    """Sequences in lexicographic order that share a row, laid out as a tree in preorder."""

    members: tuple[int, ...]
    commons: tuple[int, ...]  # how many units each member shares with the one before it
    num_columns: int


class Batch(NamedTuple):
    """Rows as arrays, and which prediction of which position belongs to which sequence."""

    ids_BT: np.ndarray
    positions_BT: np.ndarray
    document_BT: np.ndarray
    members: np.ndarray  # sequence numbers
    place_G: np.ndarray  # row * T + column of the state that predicts
    target_G: np.ndarray
    member_G: np.ndarray  # index into ``members``
    term_G: np.ndarray  # 0 for a sequence's first unit, -1 for its end, else 1


def deduplicated(sequences: Sequence[np.ndarray]) -> tuple[list[np.ndarray], np.ndarray]:
    """The distinct sequences, and for each one given the number of its like."""
    numbers: dict[bytes, int] = {}
    unique: list[np.ndarray] = []
    inverse = np.empty(len(sequences), dtype=np.int64)
    for place, ids in enumerate(sequences):
        row = np.ascontiguousarray(ids, dtype=np.int64)
        inverse[place] = numbers.setdefault(row.tobytes(), len(unique))
        if inverse[place] == len(unique):
            unique.append(row)
    return unique, inverse


def plan_rows(unique: Sequence[np.ndarray], *, shared: bool) -> list[Row]:
    """Each sequence in one row; ``shared`` joins neighbors in lexicographic order where it pays."""
    if not shared:
        return [Row((i,), (0,), len(ids) + 1) for i, ids in enumerate(unique)]
    order = sorted(range(len(unique)), key=lambda i: unique[i].astype(">i8").tobytes())
    rows: list[Row] = []
    for number in order:
        alone = Row((number,), (0,), len(unique[number]) + 1)
        if rows:
            common = _num_common(unique[rows[-1].members[-1]], unique[number])
            joined = Row(
                (*rows[-1].members, number),
                (*rows[-1].commons, common),
                rows[-1].num_columns + alone.num_columns - common - 1,
            )
            if _cost(joined) < _cost(rows[-1]) + _cost(alone):
                rows[-1] = joined
                continue
        rows.append(alone)
    return rows


def _cost(row: Row) -> float:
    """Matrix products grow with the columns, attention with their square."""
    return row.num_columns * (1 + row.num_columns / ATTENTION_COLUMNS)


def _num_common(one: np.ndarray, other: np.ndarray) -> int:
    """How many first units two sequences share."""
    shorter = min(len(one), len(other))
    differing = np.flatnonzero(one[:shorter] != other[:shorter])
    return int(differing[0]) if len(differing) else shorter


def padded_length(num_columns: int) -> int:
    """The next multiple of a step that is at most a sixteenth of the length, and at least 2."""
    step = max(2, 1 << max(0, num_columns.bit_length() - 5))
    return -(-num_columns // step) * step


def batches(
    unique: Sequence[np.ndarray],
    rows: Sequence[Row],
    specials: Specials,
    token_budget: int,
    *,
    filled: bool,
) -> Iterator[Batch]:
    """Length-sorted batches of equal padded length; ``filled`` tops each up with padding rows."""
    columns = np.array([padded_length(row.num_columns) for row in rows], dtype=np.int64)
    for num_columns in np.unique(columns).tolist():
        chosen = np.flatnonzero(columns == num_columns)
        least = -(-MIN_BATCH_TOKENS // num_columns)
        most = max(least, token_budget // num_columns)
        for start in range(0, len(chosen), most):
            taken = [rows[i] for i in chosen[start : start + most]]
            height = most if filled else max(least, len(taken))
            yield _batch(unique, taken, specials, (height, num_columns))


def _batch(
    unique: Sequence[np.ndarray], rows: Sequence[Row], specials: Specials, shape: tuple[int, int]
) -> Batch:
    ids_BT = np.full(shape, specials.pad, dtype=np.int64)
    positions_BT = np.zeros(shape, dtype=np.int64)
    document_BT = np.full(shape, PADDING_DOCUMENT, dtype=np.int64)
    places = []
    for number, row in enumerate(rows):
        paths = _lay_out(row, unique, ids_BT[number], positions_BT[number], document_BT[number])
        places += [number * shape[1] + path for path in paths]
        ids_BT[number, 0] = specials.bos
    members = [number for row in rows for number in row.members]
    sizes = np.array([len(path) for path in places])
    term_G = np.ones(sizes.sum(), dtype=np.int64)
    ends = np.cumsum(sizes)
    term_G[ends - sizes], term_G[ends - 1] = 0, -1
    return Batch(
        ids_BT,
        positions_BT,
        document_BT,
        np.array(members),
        np.concatenate(places),
        np.concatenate([part for i in members for part in (unique[i], [specials.eos])]),
        np.repeat(np.arange(len(members)), sizes),
        term_G,
    )


def _lay_out(
    row: Row,
    unique: Sequence[np.ndarray],
    ids_T: np.ndarray,
    positions_T: np.ndarray,
    document_T: np.ndarray,
) -> list[np.ndarray]:
    """Fill one row; the columns of each member's BOS and units, in order."""
    path = np.zeros(1, dtype=np.int64)
    paths, column = [], 1
    for member, common in zip(row.members, row.commons, strict=True):
        document_T[path[common + 1 :]] = seen_until(column)
        own = unique[member][common:]
        place = slice(column, column + len(own))
        ids_T[place] = own
        positions_T[place] = np.arange(common + 1, common + 1 + len(own))
        path = np.concatenate([path[: common + 1], np.arange(column, column + len(own))])
        paths.append(path)
        column += len(own)
    document_T[path] = seen_until(column)
    assert column == row.num_columns
    return paths
