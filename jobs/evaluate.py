"""Everything of a study but its report, as a Ray job: `python jobs/evaluate.py laptop`."""

import sys

sys.path[0] += "/.."  # not this folder: its tokenize.py would hide Python's own

from ray_slm.cli import app

if __name__ == "__main__":
    app(["run", *sys.argv[1:], "--until", "evaluate"])
