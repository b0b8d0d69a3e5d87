"""Everything of a study but its report, as a Ray job: `python jobs/evaluate.py laptop`."""

import sys

from ray_slm.cli import app

if __name__ == "__main__":
    app(["run", *sys.argv[1:], "--until", "evaluate"])
