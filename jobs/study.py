"""Run a study as a Ray job: `ray job submit --working-dir . -- python jobs/study.py laptop`."""

import sys

from ray_slm.cli import app

if __name__ == "__main__":
    app(["run", *sys.argv[1:]])
