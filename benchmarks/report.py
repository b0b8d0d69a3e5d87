"""How long the report of 6 modalities x 5 seeds x 20 checkpoints takes to render, and its size.

Figures, tables, CSV, PNG and PDF are written as for a real study, from made-up tables; what
evaluations are read from, and the sound of continuations, are left out.  ``--json`` prints
seconds and the megabytes of the page alone.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path[0] = str(Path(__file__).parents[1])

from ray_slm.report.page import render  # noqa: E402 - the line above finds the tests
from tests.report.made_up import RATES, made_up  # noqa: E402

NUM_SEEDS, NUM_CHECKPOINTS = 5, 20
REPEATS = 3


def main() -> None:
    """Render a few times; the median counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print the figures alone")
    as_json = parser.parse_args().json
    results = made_up(NUM_SEEDS, NUM_CHECKPOINTS)._replace(clips={})
    seconds = []
    for _ in range(REPEATS):
        with tempfile.TemporaryDirectory() as name:
            start = time.perf_counter()
            render(results, Path(name))
            seconds.append(time.perf_counter() - start)
            files = [path for path in Path(name).rglob("*") if path.is_file()]
            page = (Path(name) / "index.html").stat().st_size / 1e6
            beside = sum(path.stat().st_size for path in files) / 1e6 - page
    figures = {"seconds": round(statistics.median(seconds), 2), "megabytes": round(page, 3)}
    if as_json:
        print(json.dumps({"figures": figures}))
        return
    runs = f"{len(RATES)} x {NUM_SEEDS} runs x {NUM_CHECKPOINTS} checkpoints"
    print(f"{runs}: rendered in {figures['seconds']} s (each of {REPEATS}: {seconds})")
    print(f"the page has {page:.2f} MB, the {len(files) - 1} files beside it {beside:.2f} MB")


if __name__ == "__main__":
    main()
