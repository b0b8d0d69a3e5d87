"""Render a study's report as a Ray job: `python jobs/report.py laptop --root ROOT`."""

import sys

sys.path[0] += "/.."  # not this folder: its tokenize.py would hide Python's own

from ray_slm.cli import app

if __name__ == "__main__":
    app(["report", *sys.argv[1:]])
