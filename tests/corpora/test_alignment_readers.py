"""Alignments of other programs: what is read, what is refused, and round trips."""

import gzip
import hashlib
import itertools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ray_slm.corpora import shape_alignments as shapes
from ray_slm.corpora.alignment import AlignmentError, validated
from ray_slm.corpora.alignments.csv_rows import timed_csv
from ray_slm.corpora.alignments.ctm import Ctm
from ray_slm.corpora.alignments.json_tiers import timed_json
from ray_slm.corpora.alignments.kaldi import KaldiPhones
from ray_slm.corpora.alignments.mfa import MfaFiles
from ray_slm.corpora.alignments.source import combined_digest
from ray_slm.corpora.alignments.symbols import read_symbols
from ray_slm.corpora.alignments.tables import PhoneTable
from ray_slm.corpora.alignments.textgrid import timed_textgrid
from ray_slm.corpora.inventory import SILENCE, STRESSED_ARPABET
from ray_slm.corpora.libriheavy_shape import ALIGNMENTS

SPOKEN = [phone for phone in STRESSED_ARPABET.phones if phone != SILENCE]


@st.composite
def rows(draw):
    """A made-up utterance on Kaldi's grid: pauses of 50 ms or more, none beside another."""
    phones, frames = [], []
    for phone in draw(st.lists(st.sampled_from([*SPOKEN, SILENCE]), min_size=1, max_size=20)):
        if phone == SILENCE and phones[-1:] == [SILENCE]:
            continue
        phones.append(phone)
        frames.append(draw(st.integers(5 if phone == SILENCE else 1, 60)))
    if phones == [SILENCE]:
        phones, frames = ["AA1", SILENCE], [3, *frames]
    cut = draw(st.integers(0, 159))
    num_samples = 160 * (sum(frames) - 1) + 400 + cut
    return shapes.Framed("a/b_1", tuple(phones), tuple(frames), num_samples)


def write(root, row):
    shapes.write_kaldi(root, [row], STRESSED_ARPABET.phones)
    shapes.write_ctm(root / "ctm", [row])
    shapes.write_tables(root / "tables", [row])
    for name, (suffix, spell) in shapes.FILE_FORMS.items():
        shapes.write_per_utterance(root / name, [row], suffix, spell)


def read(source, root):
    """{utterance id: {role: contents}} of every part, and the digest."""
    found, digests = {}, {}
    for part in source.parts(root):
        seen = hashlib.sha256()
        for key, content in source.records(root, part, seen):
            found.setdefault(key.decode(), {}).setdefault(part.role, []).append(content)
        digests[f"{part.role}:{part.name}"] = seen.hexdigest()
    return found, combined_digest(digests)


def stretched(ends, num_samples):
    """Ends, the last one carried over what snipped edges cost: what all formats must agree on."""
    return (*ends[:-1], num_samples) if num_samples - ends[-1] <= 400 else ends


@settings(deadline=None, max_examples=60)
@given(row=rows())
def test_what_was_written_is_read_again_in_every_format(row, tmp_path_factory):
    root = tmp_path_factory.mktemp("aligned")
    write(root, row)
    true_ends = tuple(160 * end for end in itertools.accumulate(row.frames))
    for name, source in ALIGNMENTS.items():
        found, _ = read(source, root / name)
        assert set(found) == {"a/b_1"}, name
        timed = source.load(root / name).timed(found["a/b_1"])
        got = validated(
            timed.symbols,
            timed.starts,
            timed.ends,
            row.num_samples,
            stated_samples=timed.stated_samples,
        )
        assert got.phones == row.phones, name
        ends = [stretched(each, row.num_samples) for each in (got.ends, true_ends)]
        assert ends[0] == ends[1], name
        assert got.num_trimmed == 0, name


def timed(source, root, utterance_id="u"):
    found, _ = read(source, root)
    return source.load(root).timed(found.get(utterance_id, {}))


def refusal(source, root, utterance_id="u"):
    with pytest.raises(AlignmentError) as caught:
        timed(source, root, utterance_id)
    return caught.value.reason, caught.value.detail


def put(root, **files):
    for name, text in files.items():
        (root / name.replace("__", ".")).write_text(text)


SYMBOLS = "<eps> 0\nSIL 1\nAA1_B 2\nAA1_E 3\nT_E 4\n#0 5\n"


@pytest.mark.parametrize(
    ("form", "line", "symbols", "ends"),
    [
        ("per-frame", "u 1 1 2 2 3 4", ["SIL", "AA1_B", "AA1_E", "T_E"], [320, 640, 800, 960]),
        ("lengths", "u 1 2 ; 2 3 ; 4 1", ["SIL", "AA1_B", "T_E"], [320, 800, 960]),
        ("lengths", "u 1 2", ["SIL"], [320]),
        ("lengths", "u\t1 2 ;\t4 1", ["SIL", "T_E"], [320, 480]),
    ],
)
def test_kaldi_lines(form, line, symbols, ends, tmp_path):
    put(tmp_path, ali_phones=line + "\n", phones__txt=SYMBOLS)
    got = timed(KaldiPhones(digest="", form=form, files="ali_phones"), tmp_path)
    assert (got.symbols, got.ends, got.stated_samples) == (symbols, ends, ends[-1])
    assert got.starts == [0, *ends[:-1]]


@pytest.mark.parametrize(
    ("line", "detail"),
    [
        ("u 1 2 ; 9 1", "'9' is not in the table"),
        ("u 1 2 ; 0 1", "'0' is not in the table"),
        ("u 1 2 ; 5 1", "'5' is not in the table"),
        ("u 1 2 ; 2", "'2' is no `id frames`"),
        ("u 1 2 3 ; 2 1", "'1 2 3' is no `id frames`"),
        ("u 1 -2", "'1 -2' is no `id frames`"),
        ("u", "'' is no `id frames`"),
        ("u 1 2\nu 1 2", "2 entries (phones) of this utterance"),
    ],
)
def test_kaldi_lines_out_of_shape_say_what_is_wrong(line, detail, tmp_path):
    put(tmp_path, ali_phones=line + "\n", phones__txt=SYMBOLS)
    source = KaldiPhones(digest="", form="lengths", files="ali_phones")
    reason, found = refusal(source, tmp_path)
    assert reason == "ALIGN_MALFORMED"
    assert detail in found


def test_plain_kaldi_tells_no_times():
    with pytest.raises(ValueError, match="PhoneTable beside a table of durations"):
        KaldiPhones(digest="", form="plain")


def test_an_utterance_that_is_not_there_is_missing(tmp_path):
    put(tmp_path, ali_phones="v 1 1\n", phones__txt=SYMBOLS, x__ctm="v 1 0 1 SIL\n")
    (tmp_path / "v.TextGrid").write_text("x")
    kaldi = KaldiPhones(digest="", form="per-frame", files="ali_phones")
    for source in (kaldi, Ctm(digest=""), MfaFiles(digest="")):
        assert refusal(source, tmp_path)[0] == "ALIGN_MISSING"


def test_files_that_are_not_there_are_named(tmp_path):
    for source, named in (
        (KaldiPhones(digest="", form="lengths"), r"ali-phones\*"),
        (PhoneTable(digest=""), "'text'"),
        (Ctm(digest=""), r"\*.ctm\*"),
        (MfaFiles(digest="", form="csv"), r"\*.csv"),
    ):
        with pytest.raises(ValueError, match=named):
            source.parts(tmp_path)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("SIL\n", r"phones.txt:1: 'SIL' is no new"),
        ("SIL 1\nAA1 1\n", r"phones.txt:2: 'AA1 1' is no new"),
        ("SIL one\n", r"phones.txt:1"),
    ],
)
def test_a_table_of_symbols_out_of_shape_is_refused_with_the_line(table, message, tmp_path):
    put(tmp_path, phones__txt=table)
    with pytest.raises(ValueError, match=message):
        read_symbols(tmp_path / "phones.txt")


def test_ctm_lines_in_any_order_with_confidence_and_comments(tmp_path):
    put(tmp_path, x__ctm=";; made\nu 1 0.10 0.05 T_E 1.0\nu 1 0 0.1 AA1_B\nv 1 0 1 SIL\n")
    got = timed(Ctm(digest=""), tmp_path)
    assert got == (["AA1_B", "T_E"], [0, 1600], [1600, 2400], None)


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("u 1 0 0.1\n", "'1 0 0.1' is no `channel start duration phone"),
        ("u 1 zero 0.1 T\n", "'zero' is no time"),
        ("u 1 nan 0.1 T\n", "'nan' is no time"),
        ("u 1 0 inf T\n", "'inf' is no time"),
        ("u 1 0 0.1 T\nu 2 0.1 0.1 T\n", "channels ['1', '2']"),
    ],
)
def test_ctm_lines_out_of_shape_say_what_is_wrong(text, detail, tmp_path):
    put(tmp_path, x__ctm=text)
    reason, found = refusal(Ctm(digest=""), tmp_path)
    assert reason == "ALIGN_MALFORMED"
    assert detail in found


@pytest.mark.parametrize(
    ("text", "duration", "detail"),
    [
        ("u T AA1\n", "u 3\n", "2 phones, but 1 durations"),
        ("u T\n", "u 3.5\n", "'3.5' is no number of frames"),
        ("u T\n", "v 3\n", "no durations of this utterance"),
        ("v T\n", "u 3\n", "no phones of this utterance"),
    ],
)
def test_tables_that_do_not_fit_together_say_so(text, duration, detail, tmp_path):
    put(tmp_path, text=text, duration=duration)
    assert detail in refusal(PhoneTable(digest=""), tmp_path)[1]


LONG = shapes.long_textgrid(shapes.Framed("u", ("AA1", "T"), (10, 20), 160 * 29 + 400))


def test_a_textgrid_may_have_points_quotes_and_line_breaks():
    tier = (
        '    item [3]:\n        class = "TextTier"\n        name = "clicks [1] 2.5"\n'
        "        xmin = 0\n        xmax = 0.315\n        points: size = 1\n        points [1]:\n"
        '            number = 0.1\n            mark = "a ""b""\n3 <exists>"\n'
    )
    text = LONG.replace("size = 2 ", "size = 3 ", 1) + tier
    assert timed_textgrid(text) == (["AA1", "T"], [0, 1600], [1600, 4800], 5040)


def test_a_textgrid_in_utf_16_is_read(tmp_path):
    (tmp_path / "u.TextGrid").write_bytes(LONG.encode("utf-16"))
    assert timed(MfaFiles(digest=""), tmp_path).symbols == ["AA1", "T"]


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("", "breaks off where a string should follow"),
        ("no grid", "breaks off where a string"),
        (LONG.replace("TextGrid", "Pitch"), 'does not begin with "ooTextFile"'),
        (LONG[: len(LONG) // 2], "breaks off"),
        (LONG.replace("<exists>", "<absent>"), "no tiers"),
        (LONG.replace('"phones"', '"other"'), "['words', 'other'] are not one named 'phones'"),
        (LONG.replace('"words"', '"100 - phones"'), "not one named 'phones'"),
        (LONG.replace('"words"', '"phones"'), "two tiers are named 'phones'"),
        (LONG.replace("size = 2 ", "size = many ", 1), "line "),
        (LONG.replace("xmax = 0.1 ", 'xmax = "0.1" '), "stands where a number should"),
    ],
)
def test_a_textgrid_out_of_shape_says_what_is_wrong(text, detail):
    with pytest.raises(AlignmentError) as caught:
        timed_textgrid(text)
    assert caught.value.reason == "ALIGN_MALFORMED"
    assert detail in caught.value.detail


TIERS = json.loads(shapes.json_tiers(shapes.Framed("u", ("AA1", "T"), (10, 20), 5040)))


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("{", "no JSON"),
        ("[]", 'no object "tiers"'),
        ('{"tiers": {}}', "not one named 'phones'"),
        ('{"tiers": {"phones": []}}', 'no "entries"'),
        ('{"tiers": {"phones": {"entries": [[0, 1]]}}}', 'no "entries"'),
        ('{"tiers": {"phones": {"entries": [["0", 1, "T"]]}}}', 'no "entries"'),
        ('{"tiers": {"phones": {"entries": [[0, 1, 5]]}}}', 'no "entries"'),
        ('{"tiers": {"phones": {"entries": [[0, 1e400, "T"]]}}}', "is no time"),
    ],
)
def test_json_out_of_shape_says_what_is_wrong(text, detail):
    with pytest.raises(AlignmentError) as caught:
        timed_json(text)
    assert detail in caught.value.detail


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("", "are missing"),
        ("Begin,End,Label\n0,1,T\n", "['Type'] are missing"),
        ("Begin,End,Label,Type,Speaker\n0,1,T\n", "1 rows have not as many fields"),
        ("Begin,End,Label,Type,Speaker\n0,1,T,phones,a\n1,2,T,phones,b\n", "several speakers"),
        ("Begin,End,Label,Type,Speaker\nx,1,T,phones,a\n", "'x' is no time"),
        ('Begin,End,Label,Type,Speaker\n0,1,"T,phones,a\n', "line "),
    ],
)
def test_csv_out_of_shape_says_what_is_wrong(text, detail):
    with pytest.raises(AlignmentError) as caught:
        timed_csv(text)
    assert detail in caught.value.detail


def test_no_interval_at_all_is_empty():
    with pytest.raises(AlignmentError, match="the phones tier has no interval"):
        timed_csv("Begin,End,Label,Type,Speaker\n0,1,word,words,a\n")


def test_only_a_short_empty_label_at_the_end_is_what_snipping_left():
    for end, symbols in ((0.125, ["T"]), (0.126, ["T", ""])):
        tier = {"entries": [[0, 0.1, "T"], [0.1, end, ""]]}
        assert timed_json(json.dumps({"tiers": {"phones": tier}})).symbols == symbols


def test_flat_file_names_stand_for_ids_with_slashes(tmp_path):
    (tmp_path / "a,b_1.TextGrid").write_text(LONG)
    found, _ = read(MfaFiles(digest="", slash=","), tmp_path)
    assert set(found) == {"a/b_1"}


def test_the_digest_is_of_names_and_contents(tmp_path):
    for name in ("x/u.TextGrid", "y/v.TextGrid"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(LONG)
    source = MfaFiles(digest="")
    before = read(source, tmp_path)[1]
    assert read(source, tmp_path)[1] == before
    (tmp_path / "y/v.TextGrid").write_text(LONG + "\n")
    changed = read(source, tmp_path)[1]
    (tmp_path / "y/v.TextGrid").write_text(LONG)
    (tmp_path / "y/v.TextGrid").rename(tmp_path / "y/w.TextGrid")
    assert len({before, changed, read(source, tmp_path)[1]}) == 3


def test_the_table_of_symbols_is_part_of_the_digest(tmp_path):
    put(tmp_path, ali_phones="u 1 1\n", phones__txt=SYMBOLS)
    source = KaldiPhones(digest="", form="per-frame", files="ali_phones")
    before = read(source, tmp_path)[1]
    put(tmp_path, phones__txt=SYMBOLS.replace("AA1_B", "AE1_B"))
    assert read(source, tmp_path)[1] != before


def test_compressed_files_are_read_and_damaged_ones_refused(tmp_path):
    put(tmp_path, phones__txt=SYMBOLS)
    packed = gzip.compress(b"u 1 1 2\n")
    (tmp_path / "ali.gz").write_bytes(packed)
    source = KaldiPhones(digest="", form="per-frame", files="ali.gz")
    assert timed(source, tmp_path).symbols == ["SIL", "AA1_B"]
    (tmp_path / "ali.gz").write_bytes(packed[:-4])
    with pytest.raises(ValueError, match=r"ali.gz is damaged .* fetch it again"):
        read(source, tmp_path)
