"""How long the report of 6 modalities x 5 seeds x 20 checkpoints takes, from records, and its size.

1,800 evaluations with the items, voices and layers of the laptop study are written first, which is
not timed.  Then the report is made as `ray-slm report` makes it: every table from per-item scores,
figures, CSV, PNG and PDF.  ``--json`` prints seconds and the megabytes of the page.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

sys.path[0] = str(Path(__file__).parents[1])

from ray_slm.report.page import render  # noqa: E402 - the line above finds the tests
from ray_slm.scheduling.store import Store  # noqa: E402
from ray_slm.stages.report import collect, publish, stage_of  # noqa: E402
from tests.report.records import study_of, write_records  # noqa: E402

NUM_SEEDS, NUM_CHECKPOINTS = 5, 20


def main() -> None:
    """Write the records, then make the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print the figures alone")
    parser.add_argument("--root", type=Path, help="keep the records here, and find them again")
    options = parser.parse_args()
    study = study_of(NUM_SEEDS, NUM_CHECKPOINTS)
    with tempfile.TemporaryDirectory() as name:
        root = options.root or Path(name) / "records"
        store = Store(root)
        if not root.exists():
            write_records(study, store)
        start = time.perf_counter()
        page = publish(study, Store(root))
        seconds = time.perf_counter() - start
        megabytes = page.stat().st_size / 1e6
        if options.json:
            figures = {"seconds": round(seconds, 2), "megabytes": round(megabytes, 3)}
            print(json.dumps({"figures": figures}))
            return
        start = time.perf_counter()
        results = collect(stage_of(study), store)
        middle = time.perf_counter()
        (Path(name) / "again").mkdir()
        render(results, Path(name) / "again")
        end = time.perf_counter()
    runs = f"{len(study.modalities)} x {NUM_SEEDS} runs x {NUM_CHECKPOINTS} checkpoints"
    print(f"{runs} x {len(study.tasks)} tasks: {seconds:.1f} s, page {megabytes:.2f} MB")
    print(f"again: {middle - start:.1f} s for the tables, {end - middle:.1f} s to draw and write")


if __name__ == "__main__":
    main()
