import collections
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ray_slm.corpora.audio import read_audio
from ray_slm.corpora.finish import QUARANTINE, finish, write_quarantine
from ray_slm.corpora.flite import Flite
from ray_slm.corpora.synthesis import (
    F0_RANGE,
    STRETCH_RANGE,
    Line,
    Spoken,
    Unspeakable,
    render_shard,
    voice_settings,
)
from ray_slm.corpora.utterance import (
    Quarantined,
    Utterance,
    read_shard,
    shard_of,
    write_utterances,
)
from ray_slm.errors import QuarantineLimitError

TEXTS = [
    "No one who had ever seen Catherine would have supposed her born to be an heroine.",
    "It was a very fine evening;  the snow-drops were out!",
    '"Four o\'clock! depend upon it he will be here by three," was the answer.',
    "I am sorry to say so.",
]


def lines(texts=tuple(TEXTS), voices=("slt", "kal16", "rms", "awb")):
    return [
        Line(
            id=f"book-{i:06d}", split="train", speaker=voices[i % len(voices)], book="b", text=text
        )
        for i, text in enumerate(texts)
    ]


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def speaker():
    return Flite()


@pytest.fixture(scope="module")
def rendered(tmp_path_factory, speaker):
    folder = tmp_path_factory.mktemp("rendered")
    assert render_shard(lines(), folder, 0, speaker) == []
    return folder


def test_every_line_becomes_an_utterance_with_its_own_audio(rendered, speaker):
    utterances = read_shard(rendered, 0)
    assert [u.id for u in utterances] == [line.id for line in lines()]
    for line, utterance in zip(lines(), utterances, strict=True):
        spoken = speaker.speak(utterance.transcript, line.speaker, *voice_settings(line.id))
        samples = read_audio(rendered, utterance)
        assert np.array_equal(np.round(samples * 32768).astype(np.int16), spoken.pcm)
        assert (utterance.phones, utterance.ends) == (spoken.phones, spoken.ends)
        assert utterance.aligned_by == "synthesis timings"


def test_one_wave_file_holds_the_whole_shard_without_gaps(rendered):
    utterances = read_shard(rendered, 0)
    info = soundfile.info(rendered / "audio/shard-00000.wav")
    assert (info.samplerate, info.channels, info.subtype) == (16000, 1, "PCM_16")
    assert info.frames == sum(u.num_samples for u in utterances)
    starts = np.cumsum([0, *(u.num_samples for u in utterances)])[:-1]
    assert [u.start for u in utterances] == starts.tolist()


def test_transcripts_are_in_the_text_symbols(rendered):
    assert (
        read_shard(rendered, 0)[1].transcript
        == "It was a very fine evening; the snow drops were out!"
    )


def test_order_of_lines_changes_no_byte(rendered, tmp_path, speaker):
    render_shard(reversed(lines()), tmp_path, 0, speaker)
    assert contents(tmp_path) == contents(rendered)


def test_another_process_makes_the_same_bytes(rendered, tmp_path):
    program = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[2])\n"
        "from test_synthesis import lines, Flite, render_shard\n"
        "flite = Flite(); flite.speak('Warm up.', 'awb', 0.9, 1.1)\n"
        "render_shard(lines(), Path(sys.argv[1]), 0, flite)\n"
    )
    here = str(Path(__file__).parent)
    subprocess.run([sys.executable, "-c", program, str(tmp_path), here], check=True)
    assert contents(tmp_path) == contents(rendered)


def test_a_shard_without_lines_is_a_shard(tmp_path, speaker):
    assert render_shard([], tmp_path, 3, speaker) == []
    assert read_shard(tmp_path, 3) == []
    assert soundfile.info(tmp_path / "audio/shard-00003.wav").frames == 0


class Stumbler:
    """Speaks like flite, but cannot say some words."""

    aligned_by = "synthesis timings"

    def __init__(self, flite):
        self.flite = flite

    def speak(self, text, voice, stretch=1.0, f0_factor=1.0):
        if "unknown" in text:
            raise Unspeakable("UNKNOWN_PHONE", "flite said 'xx'")
        if "silent" in text:
            return Spoken(np.zeros(8000, np.int16), ("SIL",), (8000,))
        if "short" in text:
            return Spoken(np.ones(399, np.int16), ("SIL",), (399,))
        return self.flite.speak(text, voice, stretch, f0_factor)


def test_what_cannot_be_spoken_is_quarantined_and_accounted_for(tmp_path, speaker):
    texts = [*TEXTS, "...", "", "caf\u00e9 au lait", "unknown", "silent", "short"]
    quarantined = render_shard(lines(texts), tmp_path, 0, Stumbler(speaker))
    assert [(q.id, q.reason) for q in quarantined] == [
        ("book-000004", "EMPTY_TEXT"),
        ("book-000005", "EMPTY_TEXT"),
        ("book-000006", "UNKNOWN_SYMBOL"),
        ("book-000007", "UNKNOWN_PHONE"),
        ("book-000008", "SYNTHESIS_FAILED"),
        ("book-000009", "SYNTHESIS_FAILED"),
    ]
    assert {q.stage for q in quarantined} == {"synthesis"}
    summary = finish(tmp_path, candidates=len(texts), max_bad_fraction=0.5)
    assert summary["quarantined"] == {
        "EMPTY_TEXT": 2,
        "SYNTHESIS_FAILED": 2,
        "UNKNOWN_PHONE": 1,
        "UNKNOWN_SYMBOL": 1,
    }


def test_settings_are_spread_over_their_ranges_and_fixed_by_the_id():
    settings = np.array([voice_settings(f"emma-{i:06d}") for i in range(2000)])
    for column, (low, high) in enumerate([STRETCH_RANGE, F0_RANGE]):
        assert low <= settings[:, column].min() < low + 0.01
        assert high - 0.01 < settings[:, column].max() <= high
    assert abs(np.corrcoef(settings.T)[0, 1]) < 0.07
    assert voice_settings("emma-000000") == (1.079, 0.9058)


def test_lines_of_one_manner_differ_in_their_words_only(tmp_path, speaker):
    one, other = (
        Line(id=name, split="items", speaker="slt", book="", text="A dog.", manner="pair-1")
        for name in ("positive", "negative")
    )
    render_shard([one, other], tmp_path, 0, speaker)
    first, second = read_shard(tmp_path, 0)
    assert first.ends == second.ends
    assert np.array_equal(read_audio(tmp_path, first), read_audio(tmp_path, second))


def utterance(name, split="train", **changes):
    values = {
        "id": name, "split": split, "speaker": "slt", "book": "b", "transcript": "two words",
        "audio": "audio/a.wav", "start": 0, "num_samples": 16000, "phones": ("SIL",),
        "ends": (16000,), "aligned_by": "synthesis timings",
    }  # fmt: skip
    return Utterance(**{**values, **changes})


def bad(name, reason="EMPTY_TEXT"):
    return Quarantined(id=name, stage="synthesis", reason=reason, detail="no letter")


def test_the_summary_counts_hours_words_and_speakers_per_split(tmp_path):
    rows = [
        utterance("a"),
        utterance("b", speaker="awb"),
        utterance("c", "dev", num_samples=36 * 16000),
    ]
    for shard in (0, 1):
        write_utterances(tmp_path, shard, [u for u in rows if shard_of(u.id, 2) == shard])
        write_quarantine(tmp_path, shard, [bad("d")] if shard_of("d", 2) == shard else [])
    summary = finish(tmp_path, candidates=4, max_bad_fraction=0.25)
    assert summary == {
        "num_shards": 2,
        "candidates": 4,
        "utterances": 3,
        "quarantined": {"EMPTY_TEXT": 1},
        "splits": {
            "dev": {"utterances": 1, "hours": 0.01, "words": 2, "speakers": 1},
            "train": {"utterances": 2, "hours": 0.000556, "words": 4, "speakers": 2},
        },
        "aligned_by": ["synthesis timings"],
    }
    assert (tmp_path / QUARANTINE).read_text().count("\n") == 1
    assert finish(tmp_path, candidates=4, max_bad_fraction=0.25) == summary


@pytest.mark.parametrize(
    ("out", "left_out", "candidates", "complaint"),
    [
        ([], [], 0, "no utterance came of 0 candidates"),
        ([], ["a"], 1, r"no utterance came of 1 candidates \(1 in quarantine\)"),
        (["a", "b"], [], 3, "3 candidates went in, but 2 utterances and 0 quarantined"),
        (["a", "b"], ["b"], 2, "1 ids stand twice, 'b' the first"),
        (["a"], ["b"], 2, r"1 of 2 candidates.*EMPTY_TEXT.*0\.50% allowed; one is b: no letter"),
    ],
)
def test_unsound_corpora_are_refused(tmp_path, out, left_out, candidates, complaint):
    write_utterances(tmp_path, 0, [utterance(name) for name in out])
    write_quarantine(tmp_path, 0, [bad(name) for name in left_out])
    with pytest.raises(ValueError, match=complaint):
        finish(tmp_path, candidates=candidates, max_bad_fraction=0.005)
    assert not (tmp_path / "corpus.json").exists()


def unknown_phone(name, symbol):
    detail = f"lexicon mismatch: {symbol!r} is not among the phones"
    return Quarantined(id=name, stage="align", reason="ALIGN_UNKNOWN_PHONE", detail=detail)


def test_one_symbol_in_many_alignments_is_another_lexicon(tmp_path):
    names = [f"u{i:04d}" for i in range(2_995)]
    write_utterances(tmp_path, 0, [utterance(name) for name in names])
    few = [unknown_phone(f"x{i}", "ZH9" if i < 3 else f"?{i}") for i in range(5)]
    write_quarantine(tmp_path, 0, few)
    finish(tmp_path, candidates=3_000, max_bad_fraction=0.01)  # 3 of 3,000 is 0.1 %
    write_quarantine(tmp_path, 0, [*few, unknown_phone("x5", "ZH9")])
    with pytest.raises(QuarantineLimitError, match=r"4 of 3001 .* 0\.1% allowed; .*'ZH9'"):
        finish(tmp_path, candidates=3_001, max_bad_fraction=0.01)


# VmHWM and not getrusage, which tells the peak of the process that started this one, too.
MEMORY = r"""
import re, sys
from pathlib import Path
from ray_slm.corpora.finish import finish
folder, candidates = Path(sys.argv[1]), int(sys.argv[2])
finish(folder, candidates=candidates, max_bad_fraction=0.0)
print(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1])
"""


def test_summing_up_needs_memory_for_one_shard(tmp_path):
    peaks = {}
    for num_shards in (1, 40):
        folder, rows = tmp_path / str(num_shards), collections.defaultdict(list)
        for number in range(1000 * num_shards):
            row = utterance(f"utterance-{number:07d}", transcript="some words " * 20)
            rows[shard_of(row.id, num_shards)].append(row)
        for shard, of_shard in rows.items():
            write_utterances(folder, shard, of_shard)
        command = [sys.executable, "-c", MEMORY, str(folder), str(1000 * num_shards)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks[num_shards] = int(done.stdout) / 1024
    assert peaks[40] - peaks[1] < 16, peaks  # MB
