"""SIGKILL in the middle of preparing: the next start goes on, and nothing is lost or doubled."""

import json
import os
import pickle
import random
import signal
import subprocess
import sys
import time

from ray_slm import recipes
from ray_slm.corpora.libriheavy_shape import shaped_corpus
from ray_slm.scheduling.stage import Stage
from ray_slm.scheduling.store import Store
from ray_slm.stages import local
from ray_slm.stages.site import Site

KILLS = 8
CHILD = """
import pickle, sys
from pathlib import Path
from ray_slm.stages import local
local.execute(*pickle.loads(Path(sys.argv[1]).read_bytes()))
"""


def files_below(root):
    return sum(len(names) for _, _, names in os.walk(root))


def kill_after(child, root, num_new):
    """Wait until the child has written that many files more, or is done; then SIGKILL it."""
    before = files_below(root)
    while child.poll() is None and files_below(root) - before < num_new:
        time.sleep(0.001)
    child.send_signal(signal.SIGKILL)
    child.wait()


def test_killed_again_and_again_it_ends_with_the_same_bytes(shape, tmp_path):
    corpus, at = shaped_corpus(shape, "raw", "ctm")
    stage = Stage(name="corpus/shape", recipe=recipes.PrepareCorpus(corpus=corpus), inputs={})
    calm = Store(tmp_path / "calm")
    local.execute(stage, Site(calm, at))
    hurt = Store(tmp_path / "hurt")
    hurt.root.mkdir()
    work = tmp_path / "work.pickle"
    work.write_bytes(pickle.dumps((stage, Site(hurt, at))))
    dice, kills = random.Random(11), 0
    while kills < KILLS and not hurt.has(stage.address):
        child = subprocess.Popen([sys.executable, "-c", CHILD, str(work)])
        kill_after(child, hurt.root, dice.randint(1, 6))
        kills += 1
    local.execute(stage, Site(hurt, at))
    assert kills >= 4, "it was hurt in the middle"
    records = [store.record(stage.address) for store in (calm, hurt)]
    assert records[0]["files"] == records[1]["files"]
    assert records[0]["summary"] == records[1]["summary"]
    assert json.dumps(records[1]["summary"]).count("manifest:") == 4
