"""Every flipped bit of a page is an error: R6 of what a study must survive."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ray_slm import parquet


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    names = [f"utt-{i:05d}" for i in range(3_000)]
    return pa.table({"id": names, "value": rng.normal(size=3_000)})


@pytest.mark.parametrize("encodings", [None, {"id": "DELTA_BYTE_ARRAY"}])
def test_a_table_comes_back_whole_in_columns_and_in_batches(table, tmp_path, encodings):
    path = tmp_path / "new" / "t.parquet"
    parquet.write_table(path, table, encodings=encodings)
    assert parquet.read_table(path) == table
    assert parquet.read_table(path, ["value"]) == table.select(["value"])
    batches = list(parquet.read_batches(path, ["value"], 700))
    assert max(map(len, batches)) == 700
    assert pa.concat_tables(batches).combine_chunks() == table.select(["value"])
    assert [file.name for file in path.parent.iterdir()] == ["t.parquet"]


def test_facts_are_read_without_the_pages(table, tmp_path):
    path = tmp_path / "t.parquet"
    parquet.write_table(path, table.replace_schema_metadata({"num_tokens": "7"}))
    assert parquet.read_facts(path)["num_tokens"] == "7"


@pytest.mark.parametrize("compression", ["snappy", "zstd"])
def test_a_flipped_bit_in_a_page_is_found_by_every_way_of_reading(table, tmp_path, compression):
    path = tmp_path / "t.parquet"
    parquet.write_table(path, table, compression=compression)
    chunk = pq.read_metadata(path).row_group(0).column(1)
    sound = path.read_bytes()
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    end = start + chunk.total_compressed_size
    for place in np.random.default_rng(1).integers(start + 100, end, 25):
        content = bytearray(sound)
        content[place] ^= 1 << int(place) % 8
        path.write_bytes(content)
        with pytest.raises(OSError, match=r"(?i)crc|checksum|corrupt"):
            parquet.read_table(path)
        with pytest.raises(OSError, match=r"(?i)crc|checksum|corrupt"):
            list(parquet.read_batches(path, ["value"], 100))


def test_a_frame_comes_back_and_a_flipped_bit_in_it_is_found(table, tmp_path):
    frame, path = table.to_pandas(), tmp_path / "new" / "f.parquet"
    parquet.write_frame(path, frame)
    assert parquet.read_frame(path).equals(frame)
    chunk = pq.read_metadata(path).row_group(0).column(1)
    content = bytearray(path.read_bytes())
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    content[start + chunk.total_compressed_size // 2] ^= 4
    path.write_bytes(content)
    with pytest.raises(OSError, match=r"(?i)crc|checksum|corrupt"):
        parquet.read_frame(path)
