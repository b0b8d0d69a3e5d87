"""Parquet whose pages carry checksums, written and verified: Arrow's default is neither.

Without them one flipped bit is a wrong value that nobody notices (178 of 200 trials with zstd).
Every Parquet file of a study goes through here.
"""

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

if TYPE_CHECKING:
    import pandas as pd

ROW_GROUP = 16_384  # bounds what a reader of batches holds
BUFFER_BYTES = 1 << 16


def write_table(
    path: Path,
    table: pa.Table,
    *,
    compression: str = "snappy",
    encodings: Mapping[str, str] | None = None,
) -> None:
    """Write a file that is there entirely or not at all.

    ``encodings`` names the encoding of a column; the others get a dictionary where it pays.
    """
    write_tables(path, table.schema, [table], compression=compression, encodings=encodings)


def write_tables(
    path: Path,
    schema: pa.Schema,
    tables: Iterable[pa.Table],
    *,
    compression: str = "snappy",
    encodings: Mapping[str, str] | None = None,
) -> None:
    """The same of tables that come one after the other, never holding more than one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    special = encodings or {}
    with pq.ParquetWriter(
        draft,
        schema,
        compression=compression,
        use_dictionary=[name for name in schema.names if name not in special],
        column_encoding=dict(special) or None,
        write_page_checksum=True,
    ) as writer:
        for table in tables:
            writer.write_table(table, ROW_GROUP)
    draft.replace(path)


def read_table(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """The table, or some of its columns.  Raises OSError for a page that is not as written."""
    wanted = None if columns is None else list(columns)
    return pq.ParquetFile(path, page_checksum_verification=True).read(wanted)


def read_batches(
    path: Path, columns: Sequence[str], num_rows: int, dictionaries: Sequence[str] = ()
) -> Iterator[pa.Table]:
    """The rows in order, ``num_rows`` at a time, so that memory does not grow with the file.

    ``dictionaries`` are columns of few distinct strings, read as numbers of those.
    """
    with pq.ParquetFile(
        path,
        read_dictionary=list(dictionaries),
        page_checksum_verification=True,
        buffer_size=BUFFER_BYTES,
        pre_buffer=False,  # else every column that was read stays in memory until the end
    ) as file:
        for batch in file.iter_batches(num_rows, columns=list(columns), use_threads=False):
            yield pa.Table.from_batches([batch])


def read_facts(path: Path) -> dict[str, str]:
    """The key-value pairs a file carries beside its columns."""
    found: Mapping[bytes, bytes] = pq.read_metadata(path).metadata or {}
    return {key.decode(): value.decode() for key, value in found.items()}


def num_rows(path: Path) -> int:
    """How many rows a file has."""
    return int(pq.read_metadata(path).num_rows)


def write_frame(path: Path, frame: "pd.DataFrame") -> None:
    """Write a frame, without its index; there entirely or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    frame.to_parquet(draft, index=False, write_page_checksum=True)
    draft.replace(path)


def read_frame(path: Path) -> "pd.DataFrame":
    """A frame.  Raises OSError for a page that is not as written."""
    import pandas as pd

    return pd.read_parquet(path, page_checksum_verification=True)
