"""Planning a Libriheavy manifest: its survey against the barest loop that parses every line.

The survey checks each line against a schema, takes the file's digest and puts the cut down by
shard; the loop it is measured against is ``gzip.open`` and ``json.loads`` and does none of that.
Side by side in one run, in turns, medians.  ``--json`` prints the ratios alone.
"""

import argparse
import gzip
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from ray_slm.corpora.libriheavy import LibriheavyCorpus
from ray_slm.corpora.libriheavy_sources import manifest_name
from ray_slm.corpora.novels import BOOKS, read_novel
from ray_slm.corpora.shape_manifests import FORMS, ShapedCut, write_manifests

NUM_LINES = 20_000
ROUNDS = 5
MEMORY = (1_000, 50_000)
PEAK = r"""
import re, sys
from pathlib import Path
from benchmarks.manifest import survey
survey(Path(sys.argv[1]))
print(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1])
"""  # getrusage would tell the peak of the process that started this one


def write(folder: Path, novels: Path, num_lines: int) -> None:
    """A raw manifest of so many cuts, each some 200 letters of a novel with what precedes it."""
    sentences = [s for book in BOOKS for s in read_novel(novels, book)]
    texts = [" ".join(group) for group in zip(sentences[::2], sentences[1::2], strict=False)]
    cuts = []
    for number, text in zip(range(num_lines), itertools.cycle(texts), strict=False):
        recording = f"large/{number % 6000}/book_{number % 700}_librivox/{number // 50:03d}_64kb"
        cuts.append(
            ShapedCut(
                id=f"{recording}_{number}",
                recording=recording,
                start=16 * number,
                num_samples=229_760,
                recording_samples=10**9,
                speaker=str(number % 6000),
                text=text,
            )
        )
    write_manifests({FORMS[0]: folder}, {"large": cuts})


def survey(folder: Path) -> None:
    """What planning does with a manifest."""
    corpus = LibriheavyCorpus(train=("large",))
    corpus.survey("manifest:large", folder / "out", {corpus.name: folder})


def loop(folder: Path) -> None:
    """Every line parsed, nothing else."""
    with gzip.open(folder / manifest_name("large")) as file:
        for line in file:
            json.loads(line)


def seconds(work: Callable[[Path], None], folder: Path) -> float:
    """Wall-clock time."""
    start = time.perf_counter()
    work(folder)
    return time.perf_counter() - start


def peak_mb(folder: Path) -> float:
    """Peak memory of a process that surveys a manifest."""
    command = [sys.executable, "-c", PEAK, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout) / 1024


def main() -> None:
    """Print a table, or the figures alone as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print the figures alone")
    parser.add_argument(
        "--novels", type=Path, default=Path(".assets/r-cran-janeaustenr_1.0.0-1_all.deb")
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folders = {n: Path(name, str(n)) for n in {NUM_LINES, *MEMORY}}
        for num_lines, folder in folders.items():
            write(folder, options.novels, num_lines)
        measured = folders[NUM_LINES]
        size = (measured / manifest_name("large")).stat().st_size / NUM_LINES
        times = [(seconds(survey, measured), seconds(loop, measured)) for _ in range(ROUNDS)]
        peaks = [peak_mb(folders[n]) for n in MEMORY]
    ours, theirs = (statistics.median(column) for column in zip(*times, strict=True))
    figures = {"vs_json_loop": theirs / ours, "peak_50k_over_1k": peaks[1] / peaks[0]}
    if options.json:
        print(json.dumps({"figures": {key: round(value, 3) for key, value in figures.items()}}))
        return
    print(f"{NUM_LINES} lines of {size:.0f} bytes compressed")
    for what, taken in (("survey", ours), ("json loop", theirs)):
        print(f"{what:<10} {NUM_LINES / taken:9,.0f} lines/s, {taken / NUM_LINES * 1e6:5.1f} s/M")
    print(f"survey is {figures['vs_json_loop']:.2f} times as fast")
    print(f"peak {peaks[0]:.0f} MB at {MEMORY[0]} lines, {peaks[1]:.0f} MB at {MEMORY[1]}")


if __name__ == "__main__":
    main()
