"""One alignment in every format that is read: what the rehearsal and the tests are made of.

Times are on Kaldi's grid of 10 ms; the formats differ in what they say of silence and of the
audio's end, as the programs that write them do.
"""

import gzip
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ray_slm.corpora.inventory import SILENCE

FRAME_SAMPLES = 160
_POSITIONS = ("_B", "_I", "_E", "_S")


class Framed(NamedTuple):
    """An utterance on Kaldi's grid: ``frames`` per phone; the audio has ``num_samples``."""

    id: str
    phones: tuple[str, ...]
    frames: tuple[int, ...]
    num_samples: int


def kaldi_frames(num_samples: int) -> int:
    """Frames of 25 ms every 10 ms that lie wholly inside the audio (snipped edges)."""
    return max(0, (num_samples - 400) // FRAME_SAMPLES + 1)


def framed(
    utterance_id: str, phones: Sequence[str], ends: Sequence[int], num_samples: int
) -> Framed:
    """Phones that end at samples ``ends`` on the grid, each of one frame or more."""
    total = kaldi_frames(num_samples)
    assert len(phones) <= total, utterance_id
    at = 0
    rising = [at := max(at + 1, round(end / FRAME_SAMPLES)) for end in ends]
    at = total + 1
    capped = [at := min(at - 1, end) for end in reversed([*rising[:-1], total])][::-1]
    starts = [0, *capped[:-1]]
    lengths = tuple(end - start for start, end in zip(starts, capped, strict=True))
    return Framed(utterance_id, tuple(phones), lengths, num_samples)


def positioned(phones: Sequence[str]) -> list[str]:
    """Phones with word positions; silences stand alone.

    Words are stretches of up to three phones, so that equal neighbors never have equal marks:
    a line of one id a frame could not keep those apart.
    """
    words: list[list[str]] = []
    for phone in phones:
        last = words[-1] if words else []
        if not last or SILENCE in (phone, last[-1]) or len(last) == 3:
            words.append([])
        words[-1].append(phone)
    found = []
    for word in words:
        begin, inner, end, single = _POSITIONS
        marks = [begin, *[inner] * (len(word) - 2), end] if len(word) > 1 else [single]
        alone = word == [SILENCE]
        found += word if alone else [p + mark for p, mark in zip(word, marks, strict=True)]
    return found


def symbol_table(phones: Sequence[str]) -> dict[str, int]:
    """Kaldi's integers for phones in every position; 0 is epsilon."""
    names = [SILENCE]
    names += [phone + mark for phone in phones if phone != SILENCE for mark in _POSITIONS]
    return {name: number for number, name in enumerate(["<eps>", *names])}


def write_kaldi(folder: Path, rows: Sequence[Framed], phones: Sequence[str]) -> None:
    """``per-frame/``, ``lengths/``, ``plain/`` (with durations) and ``ctm-ids/``."""
    ids = symbol_table(phones)
    table = "".join(f"{name} {number}\n" for name, number in ids.items())
    lines: dict[str, list[str]] = {
        name: [] for name in ("per-frame", "lengths", "plain", "ctm-ids")
    }
    durations = []
    for row in rows:
        numbers = [str(ids[name]) for name in positioned(row.phones)]
        pairs = list(zip(numbers, row.frames, strict=True))
        repeated = " ".join(" ".join([number] * n) for number, n in pairs)
        lines["per-frame"].append(f"{row.id} {repeated}")
        lines["lengths"].append(f"{row.id} {' ; '.join(f'{i} {n}' for i, n in pairs)}")
        lines["plain"].append(f"{row.id} {' '.join(numbers)}")
        lines["ctm-ids"] += _ctm_lines(row, numbers)
        durations.append(f"{row.id} {' '.join(map(str, row.frames))}")
    for name, of_name in lines.items():
        _write(folder / name / "phones.txt", table)
        half = len(of_name) // 2
        for part, some in enumerate((of_name[:half], of_name[half:]), start=1):
            stem = f"{part}.ctm" if name == "ctm-ids" else f"ali-phones.{part}"
            _write_gzip(folder / name / f"{stem}.gz", some)
    _write(folder / "plain" / "durations", "".join(f"{line}\n" for line in durations))


def write_ctm(folder: Path, rows: Sequence[Framed]) -> None:
    """``phones.ctm`` with phones by name."""
    lines = [line for row in rows for line in _ctm_lines(row, positioned(row.phones))]
    _write(folder / "phones.ctm", "".join(f"{line}\n" for line in lines))


def write_tables(folder: Path, rows: Sequence[Framed]) -> None:
    """``text`` and ``duration``, silences in lower case."""
    names = {SILENCE: "sil"}
    text = [f"{r.id} {' '.join(names.get(p, p) for p in r.phones)}\n" for r in rows]
    _write(folder / "text", "".join(text))
    _write(folder / "duration", "".join(f"{r.id} {' '.join(map(str, r.frames))}\n" for r in rows))


def write_per_utterance(
    folder: Path, rows: Sequence[Framed], suffix: str, spell: Callable[[Framed], str]
) -> None:
    """A file for each utterance; ids with slashes make folders."""
    for row in rows:
        _write(folder / f"{row.id}{suffix}", spell(row))


def long_textgrid(row: Framed) -> str:
    """Praat's long form, silences with empty labels, filled to the end of the audio."""
    end = row.num_samples / 16_000
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0 "]
    lines += [f"xmax = {end} ", "tiers? <exists> ", "size = 2 ", "item []: "]
    for number, (name, intervals) in enumerate(_tiers(row).items(), start=1):
        lines += [f"    item [{number}]:", '        class = "IntervalTier" ']
        lines += [f'        name = "{name}" ', "        xmin = 0 ", f"        xmax = {end} "]
        lines.append(f"        intervals: size = {len(intervals)} ")
        for at, (begin, stop, label) in enumerate(intervals, start=1):
            lines += [f"        intervals [{at}]:", f"            xmin = {begin} "]
            lines += [f"            xmax = {stop} ", f"            text = {_quoted(label)} "]
    return "\n".join(lines) + "\n"


def short_textgrid(row: Framed) -> str:
    """Praat's short form; the tiers are a speaker's."""
    end = row.num_samples / 16_000
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "0", str(end)]
    lines += ["<exists>", "2"]
    for name, intervals in _tiers(row).items():
        lines += ['"IntervalTier"', f'"100 - {name}"', "0", str(end), str(len(intervals))]
        lines += [f"{begin}\n{stop}\n{_quoted(label)}" for begin, stop, label in intervals]
    return "\n".join(lines) + "\n"


def json_tiers(row: Framed) -> str:
    """The Montreal aligner's JSON."""
    tiers = {
        name: {"type": "interval", "entries": [list(each) for each in intervals]}
        for name, intervals in _tiers(row).items()
    }
    return json.dumps({"start": 0, "end": row.num_samples / 16_000, "tiers": tiers}, indent=4)


def csv_rows(row: Framed) -> str:
    """The Montreal aligner's CSV, which leaves silences out."""
    lines = ["Begin,End,Label,Type,Speaker"]
    for name, intervals in _tiers(row).items():
        for begin, end, label in intervals:
            if label:
                quoted = f'"{label}"' if "," in label else label
                lines.append(f"{begin},{end},{quoted},{name},100")
    return "\r\n".join(lines) + "\r\n"


FILE_FORMS: Mapping[str, tuple[str, Callable[[Framed], str]]] = {
    "textgrid-long": (".TextGrid", long_textgrid),
    "textgrid-short": (".TextGrid", short_textgrid),
    "json": (".json", json_tiers),
    "csv": (".csv", csv_rows),
}


def _tiers(row: Framed) -> dict[str, list[tuple[float, float, str]]]:
    """Words (their phones, joined) and phones with times in seconds."""
    phones, cursor = [], 0
    for phone, length in zip(row.phones, row.frames, strict=True):
        begin, cursor = cursor, cursor + length
        phones.append((begin / 100, cursor / 100, "" if phone == SILENCE else phone))
    end = row.num_samples / 16_000
    if phones[-1][2]:
        phones.append((phones[-1][1], end, ""))
    else:
        phones[-1] = (phones[-1][0], end, "")
    words = [(begin, stop, label.lower().strip("012")) for begin, stop, label in phones]
    return {"words": words, "phones": phones}


def _ctm_lines(row: Framed, names: Sequence[str]) -> list[str]:
    lines, cursor = [], 0
    for name, length in zip(names, row.frames, strict=True):
        lines.append(f"{row.id} 1 {cursor / 100:.2f} {length / 100:.2f} {name}")
        cursor += length
    return lines


def _quoted(label: str) -> str:
    return '"' + label.replace('"', '""') + '"'


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())


def _write_gzip(path: Path, lines: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress("".join(f"{line}\n" for line in lines).encode(), 5, mtime=0))
