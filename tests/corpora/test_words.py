"""Word ends from phones and a dictionary, and nothing where there is doubt."""

import pytest

from ray_slm.corpora.utterance import Utterance
from ray_slm.corpora.words import aligned_words

DICTIONARY = {
    "a": [("AH",), ("EY",)],
    "an": [("AH", "N")],
    "ice": [("AY", "S")],
    "nice": [("N", "AY", "S")],
    "'tis": [("T", "IH", "Z")],
    "men": [("M", "EH", "N")],
    "mend": [("M", "EH", "N", "D")],
    "dye": [("D", "AY"), ("AY",)],
}


def utterance(transcript, phones):
    phones = tuple(phones.split())
    return Utterance(
        id="x",
        split="dev",
        speaker="",
        book="",
        transcript=transcript,
        audio="x.wav",
        start=0,
        num_samples=1600 * len(phones),
        phones=phones,
        ends=tuple(1600 * (i + 1) for i in range(len(phones))),
        aligned_by="hand",
    )


def test_words_are_found_between_silences_and_whatever_the_stress():
    found = aligned_words(
        utterance("'Tis a (nice) men!", "SIL T IH1 Z AH0 SIL N AY1 S M EH1 N SIL"), DICTIONARY
    )
    assert found is not None
    assert [word.phones_end for word in found] == [4, 5, 9, 12]
    assert [word.letters_end for word in found] == [4, 6, 12, 17]


@pytest.mark.parametrize(
    ("transcript", "phones", "ends"),
    [("a nice", "AH0 N AY1 S", [1, 4]), ("an ice", "AH0 N AY1 S", [2, 4])],
)
def test_the_words_decide_where_the_same_phones_are_cut(transcript, phones, ends):
    found = aligned_words(utterance(transcript, phones), DICTIONARY)
    assert found is not None
    assert [word.phones_end for word in found] == ends


@pytest.mark.parametrize(
    ("transcript", "phones"),
    [
        ("a nice day", "AH0 N AY1 S D EY1"),  # a word that the dictionary lacks
        ("a nice", "AH0 N AY1 Z"),  # other phones
        ("a nice", "AH0 N AY1 S T"),  # phones left over
        ("a 1 nice", "AH0 N AY1 S"),  # a numeral has several readings
        ("mend dye", "M EH1 N D D AY1 AY1"),  # a phone too many
        ("...", "SIL"),
    ],
)
def test_doubtful_utterances_have_no_words(transcript, phones):
    assert aligned_words(utterance(transcript, phones), DICTIONARY) is None


def test_two_ways_to_spell_are_one_too_many():
    both = {"men": [("M", "EH", "N"), ("M", "EH", "N", "D")], "dye": [("D", "AY"), ("AY",)]}
    assert aligned_words(utterance("men dye", "M EH1 N D AY1"), both) is None
