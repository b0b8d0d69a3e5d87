"""A whole study on this machine: minutes, peak memory, hours of speech and the second run.

Memory is the sum of proportional set sizes (PSS) over the driver and everything it started, each
second; pages that Ray's processes share count once.  These figures are bounds a study must keep,
so they are absolute: run it on a machine that does nothing else.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

PERIOD_SECONDS = 1.0


def pss_bytes(processes: list[psutil.Process]) -> int:
    """Proportional set size of all processes that still live, in bytes."""
    total = 0
    for process in processes:
        try:
            total += process.memory_full_info().pss
        except psutil.Error:
            continue  # it ended between the listing and the look
    return total


def watched(command: list[str]) -> tuple[float, int]:
    """Seconds and peak PSS in bytes of a command and its descendants.  It must succeed."""
    start = time.monotonic()
    driver = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    tree = psutil.Process(driver.pid)
    peak = 0
    while driver.poll() is None:
        peak = max(peak, pss_bytes([tree, *tree.children(recursive=True)]))
        time.sleep(PERIOD_SECONDS)
    if driver.returncode != 0:
        raise SystemExit(f"{' '.join(command)} ended with {driver.returncode}")
    return time.monotonic() - start, peak


def measure(study: str, backend: str, root: Path) -> dict[str, float]:
    """The figures of one study, run from nothing in ``root``."""
    run = [sys.executable, "-m", "ray_slm", "run", study, "--root", str(root)]
    seconds, peak = watched([*run, "--backend", backend])
    again, _ = watched(run)
    tables = json.loads((root / "studies" / study / "report" / "tables.json").read_text())
    hours = max(row["hours"] for row in tables["table2"])
    return {
        "minutes": round(seconds / 60, 2),
        "peak_gb": round(peak / 1e9, 2),
        "second_run_s": round(again, 2),
        "train_hours": round(hours, 2),
    }


def main() -> None:
    """Print a table, or the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--study", default="laptop")
    parser.add_argument("--backend", default="ray", choices=("ray", "local"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(options.study, options.backend, Path(folder))
    if options.json:
        print(json.dumps({"figures": figures}))
        return
    for name, value in figures.items():
        print(f"{name:<14}{value:>8.2f}")


if __name__ == "__main__":
    main()
