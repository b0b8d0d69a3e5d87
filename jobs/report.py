"""Render a study's report as a Ray job: `python jobs/report.py laptop --root ROOT`."""

import sys

from ray_slm.cli import app

if __name__ == "__main__":
    app(["report", *sys.argv[1:]])
