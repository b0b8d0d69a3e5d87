"""Lines of Libriheavy's manifests, as published, misshapen and hostile."""

import copy
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_slm.corpora.manifest import ManifestReader

# The example of the corpus's README, its long texts cut.
PUBLISHED = {
    "id": "small/100/sea_fairies_0812_librivox_64kb_mp3/01_baum_sea_fairies_64kb_0",
    "start": 243.919,
    "duration": 7.36,
    "channel": 0,
    "supervisions": [
        {
            "id": "small/100/sea_fairies_0812_librivox_64kb_mp3/01_baum_sea_fairies_64kb_0",
            "recording_id": "small/100/sea_fairies_0812_librivox_64kb_mp3/01_baum_64kb",
            "start": 0,
            "duration": 7.36,
            "channel": 0,
            "language": "English",
            "speaker": "100",
            "custom": {
                "texts": ['The girl was "thoughtful".', "THE GIRL WAS THOUGHTFUL"],
                "pre_texts": ["...us mortal folk", "...US MORTAL FOLK"],
                "begin_byte": 4993,
                "end_byte": 5120,
            },
        }
    ],
    "recording": {
        "id": "small/100/sea_fairies_0812_librivox_64kb_mp3/01_baum_sea_fairies_64kb",
        "sources": [
            {
                "type": "file",
                "channels": [0],
                "source": "download/librilight/small/100/sea_fairies_0812_librivox_64kb_mp3/"
                "01_baum_sea_fairies_64kb.flac",
            }
        ],
        "sampling_rate": 16000,
        "num_samples": 9567080,
        "duration": 597.942,
        "channel_ids": [0],
    },
    "custom": {"text_path": "download/librilight_text/output_text_small_cleaned/Sea/text.txt"},
    "type": "MonoCut",
}


def reader(transcript="book", audio_prefix="download/librilight/"):
    return ManifestReader("cuts.jsonl.gz", audio_prefix=audio_prefix, transcript=transcript)


def changed(**values):
    """The published line with values at dotted paths, e.g. recording__sampling_rate=8000."""
    line = copy.deepcopy(PUBLISHED)
    for path, value in values.items():
        *parents, last = (int(p) if p.isdecimal() else p for p in path.split("__"))
        inner = line
        for parent in parents:
            inner = inner[parent]
        if value is KeyError:
            del inner[last]
        else:
            inner[last] = value
    return json.dumps(line).encode()


def test_the_published_line_is_read_in_samples():
    cut = reader().read(7, changed())
    assert (cut.start, cut.num_samples) == (3_902_704, 117_760)
    assert cut.audio == (
        "small/100/sea_fairies_0812_librivox_64kb_mp3/01_baum_sea_fairies_64kb.flac"
    )
    assert (cut.speaker, cut.book) == ("100", "sea_fairies_0812_librivox_64kb_mp3")
    assert (cut.text, cut.line, cut.reason) == ('The girl was "thoughtful".', 7, "")
    assert reader("asr").read(7, changed()).text == "THE GIRL WAS THOUGHTFUL"


def test_an_extracted_line_is_read_alike():
    line = changed(supervisions__0__custom=KeyError, supervisions__0__text="Text.", custom=KeyError)
    assert reader().read(1, line).text == "Text."
    assert reader("asr").read(1, line).reason == "TEXT_MISSING"


@pytest.mark.parametrize("kind", ["command", "url", "pipe", "memory", "shar", "FILE", ""])
def test_sources_that_are_no_files_are_refused_with_the_line(kind):
    line = changed(recording__sources__0__type=kind, recording__sources__0__source="rm -rf ~ |")
    with pytest.raises(ValueError, match=rf"cuts.jsonl.gz:12: a source of type '{kind}' \('rm"):
        reader().read(12, line)


def test_a_command_is_refused_in_a_line_that_breaks_the_schema_too():
    line = changed(recording__sources__0__type="command", duration="long")
    with pytest.raises(ValueError, match=r"cuts.jsonl.gz:3: a source of type 'command'"):
        reader().read(3, line)


@pytest.mark.parametrize(
    "source",
    [
        "/etc/passwd",
        "download/librilight/../../etc/passwd",
        "download/librilight//etc/passwd",
        "download/librilight_text/x",
        "elsewhere/x.flac",
        "download/librilight/",
    ],
)
def test_paths_that_leave_the_audios_root_are_refused_with_the_line(source):
    with pytest.raises(ValueError, match=r"cuts.jsonl.gz:5: the source .* set audio_prefix"):
        reader().read(5, changed(recording__sources__0__source=source))


def test_without_a_prefix_absolute_paths_are_refused_all_the_same():
    line = changed(recording__sources__0__source="/etc/passwd")
    with pytest.raises(ValueError, match="does not lie under ''"):
        reader(audio_prefix="").read(5, line)


@pytest.mark.parametrize(
    ("changes", "reason", "detail"),
    [
        ({"type": "PaddingCut"}, "CUT_KIND", "a PaddingCut"),
        ({"start": -1.0}, "CUT_SPAN", "samples -16000 to 101760"),
        ({"start": 1e308}, "CUT_SPAN", "a start of 1e+308 s"),
        ({"start": 597.0}, "CUT_SPAN", "of a recording of 9567080"),
        ({"duration": 0.0}, "CUT_SPAN", "which lasts 0.0 s"),
        ({"supervisions__0__duration": 6.0}, "CUT_SPAN", "which lasts 7.36 s"),
        ({"supervisions__0__start": 1.0}, "CUT_SPAN", "which lasts 7.36 s"),
        ({"supervisions": []}, "TEXT_MISSING", "0 supervisions"),
        ({"supervisions__0__custom": KeyError}, "TEXT_MISSING", r"neither text nor"),
        ({"supervisions__0__custom__texts": []}, "TEXT_MISSING", "custom.texts"),
        ({"recording__sources": []}, "AUDIO_CHANNELS", "not one source"),
        ({"channel": 1}, "AUDIO_CHANNELS", "channel 0"),
        ({"recording__sources__0__channels": [0, 1]}, "AUDIO_CHANNELS", "one channel"),
        ({"recording__sampling_rate": 22050}, "AUDIO_RATE", "22050 Hz"),
        ({"recording__transforms": [{"name": "Speed"}]}, "AUDIO_RATE", "Speed"),
        ({"recording__num_samples": "many"}, "MANIFEST_LINE", "recording.num_samples"),
        ({"start": KeyError}, "MANIFEST_LINE", "start"),
        ({"recording": KeyError}, "MANIFEST_LINE", "recording"),
        ({"duration": None}, "MANIFEST_LINE", "duration"),
    ],
)
def test_a_line_that_cannot_be_used_keeps_its_id_and_says_why(changes, reason, detail):
    cut = reader().read(9, changed(**changes))
    assert (cut.id, cut.line, cut.reason) == (PUBLISHED["id"], 9, reason)
    assert detail in cut.detail


def test_a_cut_that_overruns_its_recording_by_a_frame_is_trimmed_and_by_more_left_out():
    end = 3_902_704 + 117_760
    trimmed = reader().read(1, changed(recording__num_samples=end - 320))
    assert (trimmed.num_samples, trimmed.trimmed, trimmed.reason) == (117_440, 320, "")
    assert reader().read(1, changed(recording__num_samples=end - 321)).reason == "CUT_SPAN"


@pytest.mark.parametrize("line", [b"", b"{", b"[]", b"{}", b'{"id": 3}', b"\xff\xfe", b'"x"'])
def test_a_line_without_an_id_is_refused_with_its_place(line):
    with pytest.raises(ValueError, match=r"cuts.jsonl.gz:4: .* mend or drop it"):
        reader().read(4, line)


@given(st.integers(0, 10**9), st.integers(1, 10**7))
def test_times_that_are_whole_samples_come_back_exactly(start, num_samples):
    line = changed(
        start=start / 16_000,
        duration=num_samples / 16_000,
        supervisions__0__duration=num_samples / 16_000,
        recording__num_samples=start + num_samples,
    )
    cut = reader().read(1, line)
    assert (cut.start, cut.num_samples, cut.trimmed) == (start, num_samples, 0)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
PATHS = [
    "start", "duration", "channel", "supervisions", "recording", "type", "supervisions__0__text",
    "supervisions__0__custom", "supervisions__0__speaker", "recording__sources",
    "recording__sampling_rate", "recording__num_samples", "supervisions__0__start",
]  # fmt: skip


@given(st.sampled_from(PATHS), JSON)
def test_whatever_stands_in_a_field_the_id_comes_out_once(path, value):
    try:
        cut = reader().read(1, changed(**{path: value}))
    except ValueError as error:
        said = str(error)
    else:
        said = "" if cut.id == PUBLISHED["id"] and bool(cut.reason) == bool(cut.detail) else cut
    assert said == "" or "cuts.jsonl.gz:1: " in said
