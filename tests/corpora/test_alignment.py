import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_slm.corpora.alignment import (
    Alignment,
    AlignmentError,
    frame_count,
    labels_at_50_hz,
    num_vanished,
    phone_label,
    phones_at_50_hz,
    validated,
)

SECOND = 16_000


@st.composite
def intervals(draw, unit=1, longest=3000):
    """(phones, ends, num_samples): consecutive intervals in multiples of `unit` samples."""
    lengths = draw(st.lists(st.integers(1, longest // unit), min_size=1, max_size=30))
    ends = tuple(unit * e for e in itertools.accumulate(lengths))
    phones = tuple(draw(st.sampled_from(["AH0", "T", "SIL", "SPN"])) for _ in lengths)
    return phones, ends, ends[-1] + draw(st.integers(0, 2000))


def one_by_one(ends, num_samples):
    """The rule read aloud, a frame and an interval at a time."""
    frames = []
    for t in range(0 if num_samples < 400 else (num_samples - 400) // 320 + 1):
        center, begin, found = 320 * t + 160, 0, len(ends)
        for i, end in enumerate(ends):
            last = i == len(ends) - 1
            if last and num_samples - end <= 400:
                end = num_samples
            if begin <= center < end:
                found = i
            begin = end
        frames.append(found)
    return tuple(frames)


def refusal(phones, starts, ends, num_samples):
    with pytest.raises(AlignmentError) as caught:
        validated(phones, starts, ends, num_samples)
    return caught.value.reason, str(caught.value)


@pytest.mark.parametrize(
    ("num_samples", "frames"), [(0, 0), (399, 0), (400, 1), (719, 1), (720, 2), (16_000, 49)]
)
def test_frame_count_is_that_of_a_400_sample_field_and_a_320_sample_stride(num_samples, frames):
    assert frame_count(num_samples) == frames


@given(st.integers(400, 10**9))
def test_every_frame_lies_inside_the_audio_and_no_other_would_fit(num_samples):
    last = frame_count(num_samples) - 1
    assert 320 * last + 400 <= num_samples < 320 * (last + 1) + 400


@given(intervals())
def test_frames_agree_with_the_rule_applied_frame_by_frame(case):
    phones, ends, num_samples = case
    assert phones_at_50_hz(phones, ends, num_samples) == one_by_one(ends, num_samples)


@given(intervals(unit=160))
def test_with_10_ms_labels_frame_t_has_label_2t_plus_1(case):
    phones, ends, num_samples = case
    starts = (0, *ends[:-1])
    per_10_ms = [
        i for i, (b, e) in enumerate(zip(starts, ends, strict=True)) for _ in range(b, e, 160)
    ]
    frames = phones_at_50_hz(phones, ends, num_samples)
    for t, frame in enumerate(frames):
        if 2 * t + 1 < len(per_10_ms):
            assert frame == per_10_ms[2 * t + 1]


@given(intervals())
def test_a_phone_of_20_ms_survives_unless_it_starts_in_the_last_35_ms(case):
    phones, ends, num_samples = case
    frames = phones_at_50_hz(phones, ends, num_samples)
    starts = (0, *ends[:-1])
    for i, (start, end) in enumerate(zip(starts, ends, strict=True)):
        if end - start >= 320 and start <= num_samples - 560:
            assert i in frames
    assert num_vanished(frames, len(phones)) == sum(i not in frames for i in range(len(phones)))


def test_35_ms_is_the_exact_limit_of_survival():
    # Frames 0 and 1 have centers 160 and 480; a third would need 1040 samples.
    assert phones_at_50_hz(("AH0", "T"), (479, 1039), 1039) == (0, 1)
    assert phones_at_50_hz(("AH0", "T"), (481, 1039), 1039) == (0, 0)


def test_a_center_on_a_boundary_belongs_to_the_phone_that_begins_there():
    assert phones_at_50_hz(("AH0", "T"), (160, 800), 800) == (1, 1)
    assert phones_at_50_hz(("AH0", "T"), (161, 800), 800) == (0, 1)


def test_a_tail_of_25_ms_belongs_to_the_last_phone_and_a_longer_one_is_silence():
    assert labels_at_50_hz(("T",), (1120,), 1520) == ["T"] * 4
    assert labels_at_50_hz(("T",), (1119,), 1520) == ["T", "T", "T", "SIL"]


def test_no_phones_are_all_silence_and_short_audio_has_no_frame():
    assert labels_at_50_hz((), (), 1040) == ["SIL"] * 3
    assert phones_at_50_hz(("T",), (399,), 399) == ()


def test_a_short_phone_may_vanish_and_is_counted():
    phones, ends = ("AH0", "T", "S"), (200, 300, 1600)
    frames = phones_at_50_hz(phones, ends, 1600)
    assert frames == (0, 2, 2, 2)
    assert num_vanished(frames, len(phones)) == 1


@given(intervals())
def test_a_sound_alignment_passes_unchanged_but_for_neighboring_silences(case):
    phones, ends, num_samples = case
    alignment = validated(phones, (0, *ends[:-1]), ends, num_samples)
    before = labels_at_50_hz(phones, ends, num_samples)
    assert labels_at_50_hz(alignment.phones, alignment.ends, num_samples) == before
    assert alignment.num_trimmed == 0
    assert ("SIL", "SIL") not in itertools.pairwise(alignment.phones)
    assert [p for p in alignment.phones if p != "SIL"] == [p for p in phones if p != "SIL"]


@given(intervals(longest=1500), st.data())
def test_small_faults_are_mended_so_that_the_result_is_sound(case, data):
    phones, ends, _ = case
    phones, ends, num_samples = (*phones, "S"), (*ends, ends[-1] + 1000), ends[-1] + 1000
    error = st.integers(-160, 160)  # two boundaries together may be off by one frame
    starts = tuple(s + data.draw(error) for s in (0, *ends[:-1]))
    shaken = tuple(e + data.draw(error) for e in ends)
    alignment = validated(phones, starts, shaken, num_samples)
    assert alignment.ends[-1] <= num_samples
    assert all(a < b for a, b in itertools.pairwise((0, *alignment.ends)))
    assert set(alignment.phones) <= {*phones, "SIL"}


@pytest.mark.parametrize(
    ("starts", "ends", "mended"),
    [
        ((0, 800), (800, 1920), (800, 1600)),  # overruns by 20 ms
        ((0, 480), (800, 1600), (800, 1600)),  # overlaps by 20 ms
        ((0, 1120), (800, 1600), (800, 1600)),  # leaves a gap of 20 ms
        ((-320, 800), (800, 1600), (800, 1600)),  # begins 20 ms too early
        ((320, 800), (800, 1600), (800, 1600)),  # begins 20 ms too late
    ],
)
def test_a_fault_of_one_frame_is_mended_and_counted(starts, ends, mended):
    alignment = validated(("AH0", "T"), starts, ends, 1600)
    assert alignment == Alignment(phones=("AH0", "T"), ends=mended)
    assert alignment.num_trimmed == 1


def test_an_alignment_longer_than_its_audio_is_refused_with_both_durations():
    reason, message = refusal(("AH0", "T"), (0, 800), (800, 1921), 1600)
    assert reason == "ALIGN_OVERRUN"
    assert "the alignment lasts 0.120 s, the audio 0.100 s" in message


@pytest.mark.parametrize("faulty", [((0, 2000), (800, 1900)), ((0, 1921), (800, 1921))])
def test_a_phone_that_begins_after_the_audio_is_an_overrun(faulty):
    assert refusal(("AH0", "T"), *faulty, 1600)[0] == "ALIGN_OVERRUN"


def test_greater_faults_are_refused_with_their_times():
    reason, message = refusal(("AH0", "T"), (0, 479), (800, 1600), 1600)
    assert reason == "ALIGN_OVERLAP"
    assert "0.030 s" in message
    assert "0.050 s" in message
    reason, message = refusal(("AH0", "T"), (-321, 800), (800, 1600), 1600)
    assert reason == "ALIGN_NEGATIVE"
    assert "begins before the audio" in message
    reason, message = refusal(("AH0", "T"), (0, 1200), (800, 879), 1600)
    assert reason == "ALIGN_NEGATIVE"
    assert "ends before it begins" in message


def test_a_gap_of_more_than_one_frame_becomes_silence():
    alignment = validated(("AH0", "T"), (0, 1121), (800, 1600), 1600)
    assert alignment == Alignment(phones=("AH0", "SIL", "T"), ends=(800, 1121, 1600))
    assert alignment.num_trimmed == 0


def test_long_gaps_at_both_edges_become_silence_and_join_the_silence_beside_them():
    alignment = validated(("T", "sil"), (1000, 2000), (2000, 3000), SECOND)
    assert alignment == Alignment(phones=("SIL", "T", "SIL"), ends=(1000, 2000, SECOND))


def test_an_end_snipped_by_25_ms_stays_as_it_is():
    assert validated(("T",), (0,), (1200,), 1600).ends == (1200,)
    assert validated(("T",), (0,), (1199,), 1600).phones == ("T", "SIL")


def test_a_phone_without_a_sample_is_dropped_and_counted():
    alignment = validated(("AH0", "T", "S"), (0, 800, 800), (800, 800, 1600), 1600)
    assert alignment == Alignment(phones=("AH0", "S"), ends=(800, 1600))
    assert alignment.num_trimmed == 1


@pytest.mark.parametrize("symbol", ["", " ", "sil", "SIL", "sp", "SP", "sil_S", "SIL_B"])
def test_the_names_of_silence(symbol):
    assert phone_label(symbol) == "SIL"


def test_word_positions_are_stripped_and_noise_is_recognized():
    assert [phone_label(s) for s in ("AH0_B", "T_I", "S_E", "N_S", "spn", "SPN_S")] == [
        *("AH0", "T", "S", "N", "SPN", "SPN")
    ]


@pytest.mark.parametrize("symbol", ["AH", "ah0", "AH3", "Q", "T_X", "<eps>"])
def test_an_unknown_phone_is_refused_by_name(symbol):
    reason, message = refusal(("T", symbol), (0, 800), (800, 1600), 1600)
    assert reason == "ALIGN_UNKNOWN_PHONE"
    assert f"lexicon mismatch: {symbol!r}" in message


def test_an_alignment_needs_intervals_and_as_many_times_as_phones():
    assert refusal((), (), (), 1600)[0] == "ALIGN_EMPTY"
    assert refusal(("T",), (0,), (0,), 300)[0] == "ALIGN_EMPTY"
    reason, message = refusal(("T", "S"), (0,), (800, 1600), 1600)
    assert reason == "ALIGN_LENGTHS"
    assert "2 phones, 1 starts and 2 ends" in message


def test_numpy_times_give_plain_integers():
    alignment = validated(("T", "S"), np.array([0, 800]), np.array([800, 1700]), 1600)
    assert [type(e) for e in alignment.ends] == [int, int]
    assert type(alignment.num_trimmed) is int
