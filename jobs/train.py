"""Tokenize a study and train its models, as a Ray job: `python jobs/train.py laptop`."""

import sys

from ray_slm.cli import app

if __name__ == "__main__":
    app(["run", *sys.argv[1:], "--until", "train"])
