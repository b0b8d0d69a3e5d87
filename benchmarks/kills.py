"""Tokenizing speech while drivers and encoders are killed: the results must not know of it.

At seeded shares of the work done, the driver or one of its encoder processes gets SIGKILL, five
times in one run; a killed driver is started again by the same command.  ``equal_after_kills`` is
the share of runs whose files have the digests of an undisturbed run, ``ids_conserved`` of those
with every id in the store or in its quarantine; both must be 1.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.sentences import Sentences
from ray_slm.corpora.utterance import read_utterances
from ray_slm.modalities import speech_whisper
from ray_slm.modalities.speech_units import SpeechUnits
from ray_slm.pace import read_pace
from ray_slm.recipes import PrepareCorpus
from ray_slm.scheduling.stage import Stage
from ray_slm.scheduling.store import SCRATCH, Store
from ray_slm.scheduling.token_stages import token_stages
from ray_slm.stages import local
from ray_slm.stages.site import Site
from ray_slm.tokens import TokenStore

REPOSITORY = Path(__file__).parents[1]
UNITS = SpeechUnits(
    extractor=speech_whisper.STREAM.extractor, num_units=16, sample_minutes=1, num_inits=1
)
CORPUS = Sentences(num_sentences=96, num_shards=24)
KILLS_PER_RUN = 5
PATIENCE_SECONDS = 300.0


class Made(NamedTuple):
    """A root with a corpus, its stage, and the stages of vocabulary and tokens."""

    site: Site
    corpus: Stage
    vocabulary: Stage
    tokens: Stage


def made(root: Path) -> Made:
    """The stages at a root; nothing is run."""
    site = Site(Store(root), {"assets": REPOSITORY / ".assets"})
    corpus = Stage(name="corpus/sentences", recipe=PrepareCorpus(corpus=CORPUS))
    vocabulary, tokens = token_stages("units", UNITS, {"corpus": corpus}, 0.0).stages
    return Made(site, corpus, vocabulary, tokens)


def prepare(root: Path) -> None:
    """Corpus, audio and codebook."""
    here = made(root)
    folder = here.site.store.path(here.corpus.address)
    CORPUS.prepare(folder, here.site.places)
    CORPUS.speak(folder)
    here.site.store.commit(here.corpus, summary={}, made="here")
    local.execute(here.vocabulary, here.site)


def drive(root: Path) -> None:
    """What a driver does: tokenize on a local cluster of its own."""
    from ray_slm.cluster.session import worker_environment

    os.environ.update(worker_environment(), RAY_DATA_LOG_LEVEL="ERROR")
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 - Ray's name; else others starve it
    import ray

    from ray_slm.cluster.tokenize import tokenize

    here = made(root)
    ray.init("local", num_cpus=4, include_dashboard=False, logging_level="ERROR")
    if not here.site.store.has(here.tokens.address):
        tokenize(here.tokens, here.site)
    ray.shutdown()


def start(root: Path) -> subprocess.Popen:
    """A driver in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.kills", "--drive", str(root)]
    return subprocess.Popen(
        command, cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


class Kill(NamedTuple):
    """Whom to kill, once this share of the audio is done."""

    share: float
    victim: str


def killed_run(root: Path, kills: list[Kill]) -> None:
    """Tokenize to the end, whoever is killed on the way."""
    driver, dead = start(root), set()
    for kill in sorted(kills):
        encoders = _at_work(root, driver, kill.share, dead)
        if kill.victim == "driver":
            driver.send_signal(signal.SIGKILL)
            driver.wait()
            driver = start(root)
        else:
            dead.add(encoders[0].pid)
            encoders[0].kill()
    assert driver.wait(PATIENCE_SECONDS) == 0


def _at_work(root: Path, driver: subprocess.Popen, share: float, dead: set[int]) -> list:
    """The living encoders, once ``share`` of the audio is done and while there is more to do."""
    import psutil

    here = made(root)
    scratch = here.site.store.root / here.tokens.address / SCRATCH
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        assert driver.poll() is None, "the driver ended before it could be disturbed"
        assert time.monotonic() < deadline, "nothing to kill appeared"
        pace = read_pace(scratch)
        encoders = [e for e in _encoders(psutil.Process(driver.pid)) if e.pid not in dead]
        if pace is not None and encoders and pace.before + pace.done >= share * pace.total:
            return encoders
        time.sleep(0.05)


def _encoders(driver: Any) -> list:
    """The actor processes of this driver's own cluster."""
    import psutil

    found = []
    try:
        for process in driver.children(recursive=True):
            if process.cmdline()[:1] and "ShardTokenizer" in process.cmdline()[0]:
                found.append(process)
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return []  # processes come and go while one looks
    return found


class Ended(NamedTuple):
    """What a run left: digests by file, and whether every id is accounted for."""

    files: dict
    conserved: bool


def ended(root: Path) -> Ended:
    """Read the result."""
    here = made(root)
    folder = here.site.store.path(here.tokens.address)
    ids_in = sorted(u.id for u in read_utterances(here.site.store.path(here.corpus.address)))
    record = here.site.store.record(here.tokens.address)
    out = [i for split in record["summary"]["splits"] for i in TokenStore.open(folder, split).ids]
    lines = (folder / "quarantine.jsonl").read_text().splitlines()
    refused = [json.loads(line)["id"] for line in lines]
    return Ended(record["files"], sorted([*out, *refused]) == ids_in)


def killed_runs(folder: Path, num_kills: int, seed: int) -> tuple[Ended, list[Ended]]:
    """An undisturbed run, and those with kills; drivers and encoders in turn."""
    prepared, moments = folder / "prepared", random.Random(seed)
    prepare(prepared)
    undisturbed = folder / "undisturbed"
    shutil.copytree(prepared, undisturbed)
    killed_run(undisturbed, [])
    kills = [
        Kill(moments.uniform(0.0, 0.7), ("driver", "encoder")[number % 2])
        for number in range(num_kills)
    ]
    found = []
    for first in range(0, num_kills, KILLS_PER_RUN):
        root = folder / f"killed-{first}"
        shutil.copytree(prepared, root)
        killed_run(root, kills[first : first + KILLS_PER_RUN])
        found.append(ended(root))
        shutil.rmtree(root)
    return ended(undisturbed), found


def main() -> None:
    """Print a table, or the figures alone as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print the figures alone")
    parser.add_argument("--kills", type=int, default=25)
    parser.add_argument("--drive", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.drive:
        drive(options.drive)
        return
    with tempfile.TemporaryDirectory() as folder:
        calm, killed = killed_runs(Path(folder), options.kills, seed=7)
    figures = {
        "equal_after_kills": sum(one.files == calm.files for one in killed) / len(killed),
        "ids_conserved": sum(one.conserved for one in [calm, *killed]) / (len(killed) + 1),
        "kills": options.kills,
    }
    if options.json:
        print(json.dumps({"figures": figures}))
        return
    for name, figure in figures.items():
        print(f"{name:<20}{figure:8.3f}")


if __name__ == "__main__":
    main()
