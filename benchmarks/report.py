"""How long the report of 6 modalities x 5 seeds x 20 checkpoints takes, from records, and its size.

1,800 evaluations with the items, voices and layers of the laptop study are written first, which is
not timed.  Then the report is made as `ray-slm report` makes it: every table from per-item scores,
figures, CSV, PNG and PDF.  ``--json`` prints seconds, those of one processor (which a busy machine
does not stretch), and the megabytes of the page.
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
        start, start_cpu = time.perf_counter(), time.process_time()
        page = publish(study, Store(root))
        seconds, cpu = time.perf_counter() - start, time.process_time() - start_cpu
        megabytes = page.stat().st_size / 1e6
        if options.json:
            figures = {"seconds": seconds, "cpu_seconds": cpu, "megabytes": megabytes}
            print(json.dumps({"figures": {name: round(v, 2) for name, v in figures.items()}}))
            return
        start = time.perf_counter()
        results = collect(stage_of(study), store)
        middle = time.perf_counter()
        (Path(name) / "again").mkdir()
        render(results, Path(name) / "again")
        end = time.perf_counter()
    runs = f"{len(study.modalities)} x {NUM_SEEDS} runs x {NUM_CHECKPOINTS} checkpoints"
    print(f"{runs} x {len(study.tasks)} tasks: {seconds:.1f} s ({cpu:.1f} s of CPU)")
    print(f"the page has {megabytes:.2f} MB")
    print(f"again: {middle - start:.1f} s for the tables, {end - middle:.1f} s to draw and write")


if __name__ == "__main__":
    main()
