"""A user's own folder of recordings, from files to a report, through the command line."""

import re

import pytest
import soundfile

from ray_slm.corpora.flite import Flite
from ray_slm.corpora.laptop import LaptopCorpus
from tests import smoke

STUDY = """
from dataclasses import replace
from ray_slm.corpora.folder import FolderCorpus
from ray_slm.studies import smoke
from ray_slm.tasks.swuggy import Swuggy

STUDY = replace(
    smoke.STUDY,
    name="mine",
    notice="Own recordings.",
    contrasts=(),
    corpus=FolderCorpus(name="mine", digest="{digest}", num_shards=2, max_bad_fraction=0.1),
    modalities=tuple(m for m in smoke.STUDY.modalities if m.name in ("text-raw", "phone-repeat")),
    tasks=(Swuggy(num_pairs=3, min_count=1),),
    checkpoint_hours=(0.0, 0.01),
)
"""
SPEAKERS = ("rms", "slt", "kal16")


@pytest.fixture(scope="module")
def recordings(places, tmp_path_factory):
    """36 clips of three speakers as wav and flac; one of them was cut in half."""
    root = tmp_path_factory.mktemp("recordings")
    flite = Flite(SPEAKERS)
    lines = LaptopCorpus(train_hours=0.06, dev_minutes=0.2).lines(places)[:36]
    for i, line in enumerate(lines):
        voice = SPEAKERS[i % 3]
        suffix = "flac" if i % 2 else "wav"
        path = root / voice / f"clip-{i:02d}.{suffix}"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, flite.speak(line.text, voice).pcm, 16_000)
        path.with_suffix(".txt").write_text(line.text)
    victim = root / "rms" / "clip-03.flac"
    victim.write_bytes(victim.read_bytes()[: victim.stat().st_size // 2])
    return root


def test_a_folder_of_recordings_becomes_a_report(recordings, tmp_path):
    study = tmp_path / "mine.py"
    study.write_text(STUDY.format(digest="not known yet"))
    options = ("--backend", "local", "--quiet", "--place", f"mine={recordings}")
    first = smoke.call("run", str(study), tmp_path / "root", *options)
    assert first.returncode == 2
    found = re.search(r'paste digest="([0-9a-f]{64})"', first.stderr)
    assert found, first.stderr

    study.write_text(STUDY.format(digest=found[1]))
    second = smoke.call("run", str(study), tmp_path / "root", *options)
    assert second.returncode == 0, second.stderr
    tables = (tmp_path / "root/studies/mine/report/tables.json").read_text()
    assert "AUDIO_UNREADABLE" in tables
    assert "rms.clip-03" in tables
    assert "phone-repeat" in tables
