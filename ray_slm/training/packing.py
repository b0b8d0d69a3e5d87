"""Utterances packed into rows, so that almost no computation is spent on padding.

A document is BOS, its units, EOS; every target is predicted exactly once, from its own document
alone, so packed rows give the loss of padded ones.  Documents longer than the window are cut, and
the cuts are counted.
Legend: B rows, T tokens of a row.
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np

IGNORED = -100  # target of padding; the default of torch's cross entropy
PADDING_DOCUMENT = -1
ROW_MULTIPLE = 64
TRIM_MULTIPLE = 32
NUM_LENGTHS = 5  # row lengths that are tried for a step; more of them gain nothing


class Documents(Protocol):
    """The tokens of one split; ``TokenStore`` is one."""

    @property
    def ids(self) -> Sequence[str]:
        """Utterance ids, sorted."""
        ...

    @property
    def lengths(self) -> np.ndarray:
        """(N,) units of each document, without specials."""
        ...

    @property
    def num_samples(self) -> np.ndarray:
        """(N,) samples of audio at 16 kHz of each document."""
        ...

    def __len__(self) -> int: ...

    def tokens(self, i: int) -> np.ndarray:
        """Unit ids (U,) of one document, uint16."""
        ...


class Piece(NamedTuple):
    """``length`` inputs of a document from input ``start`` on; input 0 is BOS."""

    document: int
    start: int
    length: int


class Rows(NamedTuple):
    """Packed rows, int64.  Target i is what follows input i; padding is ``IGNORED``."""

    ids_BT: np.ndarray
    positions_BT: np.ndarray  # from 0 in each piece
    document_BT: np.ndarray  # piece number within the row, ``PADDING_DOCUMENT`` at padding
    targets_BT: np.ndarray


def num_targets(lengths: np.ndarray) -> np.ndarray:
    """Trained tokens of documents of ``lengths`` units: the units and EOS."""
    return lengths.astype(np.int64) + 1


def pieces(indices: np.ndarray, lengths: np.ndarray, window: int) -> list[Piece]:
    """Documents as pieces of at most ``window`` inputs; ``lengths`` is that of all documents."""
    found = []
    for index in indices:
        num_inputs = int(lengths[index]) + 1
        for start in range(0, num_inputs, window):
            found.append(Piece(int(index), start, min(window, num_inputs - start)))
    return found


def row_length(lengths: Sequence[int], window: int) -> int:
    """The multiple of 64 whose rows hold pieces of ``lengths`` with the least padding.

    Candidates start at the shortest that holds the longest piece and end at the window; of equal
    ones the shortest is taken, as attention costs grow with it.
    """
    shortest = min(-(-max(lengths) // ROW_MULTIPLE) * ROW_MULTIPLE, window)
    candidates = [min(shortest + extra * ROW_MULTIPLE, window) for extra in range(NUM_LENGTHS)]
    return min(candidates, key=lambda n: (n * len(first_fit_decreasing(lengths, n)), n))


def pack(documents: Documents, share: Sequence[Piece], num_columns: int, vocab_size: int) -> Rows:
    """Pack pieces into rows of ``num_columns`` tokens, first fit decreasing.

    Raises:
        ValueError: naming the utterance that holds an id outside the vocabulary.
    """
    bins = first_fit_decreasing([piece.length for piece in share], num_columns)
    shape = (len(bins), num_columns)
    rows = Rows(
        np.full(shape, vocab_size + 2),
        np.zeros(shape, dtype=np.int64),
        np.full(shape, PADDING_DOCUMENT),
        np.full(shape, IGNORED),
    )
    for row, members in enumerate(bins):
        column = 0
        for number, member in enumerate(members):
            piece = share[member]
            stream = _stream(documents, piece, vocab_size)
            place = (row, slice(column, column + piece.length))
            rows.ids_BT[place] = stream[:-1]
            rows.targets_BT[place] = stream[1:]
            rows.positions_BT[place] = np.arange(piece.length)
            rows.document_BT[place] = number
            column += piece.length
    return rows


def first_fit_decreasing(sizes: Sequence[int], capacity: int) -> list[list[int]]:
    """Bins of indices whose sizes sum to at most ``capacity``; within 11/9 of the fewest bins."""
    bins: list[list[int]] = []
    room: list[int] = []
    for index in sorted(range(len(sizes)), key=lambda i: (-sizes[i], i)):
        size = sizes[index]
        assert size <= capacity, f"a piece of {size} does not fit into a row of {capacity}"
        for number, free in enumerate(room):
            if size <= free:
                bins[number].append(index)
                room[number] -= size
                break
        else:
            bins.append([index])
            room.append(capacity - size)
    return bins


def one_per_row(
    documents: Documents, share: Sequence[Piece], num_columns: int, vocab_size: int
) -> Rows:
    """Each piece alone in a row of ``num_columns`` tokens: the cost of padding to the window."""
    rows = [pack(documents, [piece], num_columns, vocab_size) for piece in share]
    return Rows(*(np.concatenate(parts) for parts in zip(*rows, strict=True)))


def microbatches(rows: Rows, num_tokens: int, *, trim: bool = True) -> Iterator[Rows]:
    """Slices of at most ``num_tokens`` tokens, padding included, or of one row.

    Rows of like fill come together, and columns that hold only padding are cut off if ``trim``.
    """
    fill_B = (rows.document_BT != PADDING_DOCUMENT).sum(1)
    order_B = np.argsort(-fill_B, kind="stable")
    num_rows, num_columns = rows.ids_BT.shape
    step = max(1, num_tokens // num_columns)
    for start in range(0, num_rows, step):
        chosen = order_B[start : start + step]
        width = -(-int(fill_B[chosen[0]]) // TRIM_MULTIPLE) * TRIM_MULTIPLE
        columns = slice(width if trim else num_columns)
        yield Rows(*(np.ascontiguousarray(part[chosen, columns]) for part in rows))


def equal_microbatches(rows: Rows, num_tokens: int, vocab_size: int) -> Iterator[Rows]:
    """Slices of one shape, for compiled code: the last one is filled up with rows of padding."""
    num_rows, num_columns = rows.ids_BT.shape
    step = max(1, num_tokens // num_columns)
    missing = -num_rows % step
    empty = (vocab_size + 2, 0, PADDING_DOCUMENT, IGNORED)
    whole = [
        np.concatenate([part, np.full((missing, num_columns), value)])
        for part, value in zip(rows, empty, strict=True)
    ]
    for start in range(0, num_rows, step):
        yield Rows(*(part[start : start + step] for part in whole))


def bounds(document_BT: np.ndarray, least: int = 1) -> np.ndarray:
    """Where documents begin in the rows laid end to end, then their end, int32.

    The length is a power of two from ``least`` on, so that compiled code sees few shapes: what is
    left over are documents of no tokens at the end.
    """
    starts_BT = np.ones(document_BT.shape, dtype=bool)
    starts_BT[:, 1:] = document_BT[:, 1:] != document_BT[:, :-1]
    starts = np.flatnonzero(starts_BT)
    length = max(least, 1 << len(starts).bit_length())
    found = np.full(length, document_BT.size, dtype=np.int32)
    found[: len(starts)] = starts
    return found


def usual_bounds(lengths: np.ndarray, num_rows: int, num_columns: int) -> int:
    """A length of bounds that nearly all rows of such documents need no more than."""
    each = float(np.minimum(lengths + 1, num_columns).mean())
    return 1 << math.ceil(math.log2(num_rows * (1.5 * num_columns / each + 2)))


def _stream(documents: Documents, piece: Piece, vocab_size: int) -> np.ndarray:
    """Inputs of a piece and the one target that follows them, (length + 1,) int64."""
    units = documents.tokens(piece.document)
    stream = np.concatenate(([vocab_size], units.astype(np.int64), [vocab_size + 1]))
    stream = stream[piece.start : piece.start + piece.length + 1]
    if len(units) and int(units.max()) >= vocab_size:
        raise ValueError(
            f"utterance {documents.ids[piece.document]!r} holds the token id {int(units.max())}, "
            f"but the vocabulary has {vocab_size} units: tokenize it again with this vocabulary"
        )
    return stream
