"""Prepare and tokenize a study, as a Ray job: `python jobs/tokenize.py laptop`."""

import sys

sys.path[0] += "/.."  # not this folder: its tokenize.py would hide Python's own

from ray_slm.cli import app

if __name__ == "__main__":
    app(["run", *sys.argv[1:], "--until", "tokenize"])
