"""Reading and holding tokens: random windows against Parquet, bytes on disk, peak memory."""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.token_stages import REPOSITORY, Work, prepared
from ray_slm.cluster.session import worker_environment
from ray_slm.stages import local
from ray_slm.tokens import TokenStore

WINDOWS = 4_096
ROW_GROUP = 1_024
ROUNDS = 6


def against_parquet(work: Work, folder: Path) -> float:
    """Random utterances per second of the store over those of a Parquet file of lists.

    The file is asked for thousands at once and reads each of its row groups once for all of them.
    """
    store = TokenStore.open(work.folder("phone-repeat"), "train")
    some = range(min(len(store), 100_000))
    offsets = np.concatenate([[0], np.cumsum(store.lengths[: len(some)])])
    values = pa.array(np.concatenate([store.tokens(i) for i in some]))
    lists = pa.LargeListArray.from_arrays(offsets, values)
    pq.write_table(pa.table({"ids": lists}), folder / "t.parquet", row_group_size=ROW_GROUP)
    file = pq.ParquetFile(folder / "t.parquet", memory_map=True)
    rng, ratios = np.random.default_rng(0), []
    for _ in range(ROUNDS):
        wanted = rng.integers(0, len(some), WINDOWS)
        start = time.perf_counter()
        theirs = _from_parquet(file, wanted)
        middle = time.perf_counter()
        ours = [np.array(store.tokens(i)) for i in wanted.tolist()]  # read, not only found
        ratios.append((middle - start) / (time.perf_counter() - middle))
        assert all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))
    return statistics.median(ratios)


def _from_parquet(file: pq.ParquetFile, wanted: np.ndarray) -> list:
    order = np.argsort(wanted)
    groups, firsts = np.unique(wanted[order] // ROW_GROUP, return_index=True)
    found: list = [None] * len(wanted)
    for group, members in zip(groups.tolist(), np.split(order, firsts[1:]), strict=True):
        column = file.read_row_group(group)["ids"].combine_chunks()
        ends, flat = column.offsets.to_numpy(), column.values.to_numpy()
        for place in members.tolist():
            row = wanted[place] - group * ROW_GROUP
            found[place] = flat[ends[row] : ends[row + 1]]
    return found


def bytes_per_token(work: Work, name: str) -> float:
    """Bytes of a store's training split over its tokens, index included."""
    store = TokenStore.open(work.folder(name), "train")
    files = (work.folder(name) / "train").iterdir()
    return sum(path.stat().st_size for path in files) / store.num_tokens


def memory_growth() -> dict[str, float]:
    """Peak memory of tokenizing 100k sentences over that of 1k and of 10k, whose chunks are full.

    Each in a process of its own, as workers are set up, two shards whatever the number.
    """
    environment, peaks = {**os.environ, **worker_environment()}, []
    for count in (1_000, 10_000, 100_000):
        with tempfile.TemporaryDirectory() as root:
            prepared(Path(root), count, 2)
            command = [sys.executable, "-m", "benchmarks.token_reads", root, str(count)]
            found = subprocess.run(
                command,
                check=True,
                capture_output=True,
                text=True,
                cwd=REPOSITORY,
                env=environment,
            )
        peaks.append(int(found.stdout.split()[-1]))
    few, some, many = peaks
    return {"memory_growth": many / few, "memory_growth_from_10k": many / some}


def _tokenize_all() -> None:
    """Tokenize what was prepared, in this process, and print its peak memory in kB."""
    parser = argparse.ArgumentParser()
    parser.add_argument("root", type=Path)
    parser.add_argument("count", type=int)
    options = parser.parse_args()
    work = prepared(options.root, options.count, 2)
    for name, stage in work.stages.items():
        local.execute(stage, work.site)
        assert len(TokenStore.open(work.folder(name), "train")) > 0
    status = Path("/proc/self/status").read_text()
    print(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))


if __name__ == "__main__":
    _tokenize_all()
