import itertools

import numpy as np
import pytest

from ray_slm.corpora.aligner import Aligner, guessed_stress, letter_to_sound, words_of
from ray_slm.corpora.alignment import AlignmentError, labels_at_50_hz, validated
from ray_slm.corpora.assets import locate
from ray_slm.corpora.flite import Flite
from ray_slm.corpora.lexicon import PHONE_SET, read_cmudict

SENTENCES = (
    "It was a very happy morning, and the whole family walked slowly to the village.",
    "She had never been so surprised in all her life.",
    "Mr Fotheringbone is a singular gentleman.",
    "They waited in the garden until the carriage came.",
    "The doctor read the letter twice, and then he laughed aloud.",
    "I cannot imagine what you are thinking of.",
    "Nobody had told the children about the journey.",
    "There's no need to hurry; the ship won't sail before noon.",
    "His elder sister played the piano every evening.",
    "A cold wind blew across the empty fields.",
    "We shall never agree upon the color of the curtains.",
    "Why should he object to such a reasonable proposal?",
)
VOICES = ("rms", "slt")


@pytest.fixture(scope="module")
def lexicon(places):
    return read_cmudict(locate(places, "cmudict"))


@pytest.fixture(scope="module")
def aligner(lexicon):
    return Aligner(lexicon, letter_to_sound())


@pytest.fixture(scope="module")
def spoken():
    """{(sentence, voice): speech whose phone ends are known exactly}"""
    flite = Flite(VOICES)
    return {(s, v): flite.speak(s, v, 1.05) for s in SENTENCES for v in VOICES}


@pytest.fixture(scope="module")
def aligned(aligner, spoken):
    return {key: aligner.align(speech.pcm, key[0], seed=7) for key, speech in spoken.items()}


def agreement(found, speech, early_by=160):
    """Share of frames with the phone, digits aside, that was said `early_by` samples later."""
    phones, _, ends = zip(*found, strict=True)
    num_samples = len(speech.pcm)
    exact = [max(i + 1, end - early_by) for i, end in enumerate(speech.ends[:-1])]
    heard = labels_at_50_hz(phones, ends, num_samples)
    said = labels_at_50_hz(speech.phones, [*exact, num_samples], num_samples)
    return [h.rstrip("012") == s.rstrip("012") for h, s in zip(heard, said, strict=True)]


def test_everything_aligns(aligned):
    assert [key for key, found in aligned.items() if found is None] == []


def test_phones_lie_where_the_synthesizer_put_them(aligned, spoken):
    frames = [same for key in aligned for same in agreement(aligned[key], spoken[key])]
    assert len(frames) > 3000
    assert np.mean(frames) > 0.82  # .86 on a hundred sentences of four voices


def test_intervals_are_gapless_known_phones_and_end_with_the_audio(aligned, spoken):
    for key, found in aligned.items():
        phones, starts, ends = zip(*found, strict=True)
        assert set(phones) <= PHONE_SET
        assert starts == (0, *ends[:-1])
        assert 0 <= len(spoken[key].pcm) - ends[-1] <= 400
        assert all(end % 160 == 0 for end in ends)
        assert validated(phones, starts, ends, len(spoken[key].pcm)).num_trimmed == 0


@pytest.mark.parametrize(
    ("text", "phones"),
    [
        ("He broke every record.", "R EH1 K ER0 D"),
        ("They came here to record.", "K AO1 R D"),
    ],
)
def test_a_word_gets_the_stress_of_the_pronunciation_that_was_heard(aligner, text, phones):
    said = Flite(("slt",)).speak(text, "slt")
    heard = [phone for phone, _, _ in aligner.align(said.pcm, text, 0) if phone != "SIL"]
    assert " ".join(heard).endswith(phones)


def test_what_is_heard_does_not_depend_on_what_came_before(lexicon, aligned, spoken):
    other = Aligner(lexicon, letter_to_sound())
    for key, speech in list(spoken.items())[::-3]:
        assert other.align(speech.pcm, key[0], seed=7) == aligned[key], key


def test_the_audio_is_left_as_it_was_and_equal_seeds_give_equal_intervals(aligner, spoken):
    speech = spoken[SENTENCES[0], "rms"]
    before = speech.pcm.copy()
    twice = [aligner.align(speech.pcm, SENTENCES[0], seed=3) for _ in range(2)]
    assert np.array_equal(before, speech.pcm)
    assert twice[0] == twice[1]


def test_an_unknown_word_is_spoken_and_stressed_by_letter_to_sound(lexicon, aligned):
    phones = [phone for phone, _, _ in aligned["Mr Fotheringbone is a singular gentleman.", "rms"]]
    assert "fotheringbone" not in lexicon
    word = letter_to_sound()("fotheringbone")
    runs = [tuple(phones[i : i + len(word)]) for i in range(len(phones))]
    assert word in runs


def test_an_unknown_word_without_letter_to_sound_is_refused_by_name(lexicon, spoken):
    speech = spoken[SENTENCES[2], "rms"]
    with pytest.raises(AlignmentError, match="'fotheringbone' is in no dictionary") as caught:
        Aligner(lexicon, None).align(speech.pcm, SENTENCES[2], 0)
    assert caught.value.reason == "UNKNOWN_WORD"


def test_a_word_only_the_stress_lexicon_knows_is_learned_from_it(spoken):
    speech = spoken[SENTENCES[2], "rms"]
    told = ("F", "AA1", "DH", "ER0", "IH0", "NG", "B", "OW2", "N")
    other = Aligner({"fotheringbone": [told]}, None)
    phones = [phone for phone, _, _ in other.align(speech.pcm, SENTENCES[2], 0)]
    assert told in [tuple(phones[i : i + len(told)]) for i in range(len(phones))]
    assert other.counts["unknown words"] == 0
    assert other.counts["words whose stress was guessed"] == 5  # all but the word that was told


@pytest.mark.parametrize("num_samples", [0, 1, 400, 1600])
def test_audio_too_short_for_its_words_gives_none(aligner, num_samples):
    silence = np.zeros(num_samples, np.int16)
    assert aligner.align(silence, "Hello there, my friend.", 0) is None


def test_numerals_are_refused_because_they_have_several_readings(aligner):
    with pytest.raises(AlignmentError, match="write '1811,' as it is spoken") as caught:
        aligner.align(np.zeros(16000, np.int16), "In 1811, it rained.", 0)
    assert caught.value.reason == "TEXT_DIGITS"


def test_a_text_needs_a_word(aligner):
    with pytest.raises(AlignmentError, match="there is no word in") as caught:
        aligner.align(np.zeros(16000, np.int16), "...!", 0)
    assert caught.value.reason == "TEXT_NO_WORDS"


def test_words_are_letters_and_apostrophes_and_quotes_are_not_part_of_them():
    known = {"'tis", "don't", "o'clock"}.__contains__
    text = "'Tis 'So,' he said; don't go (it's nine o'clock)!"
    assert words_of(text, known) == [
        *("'tis", "so", "he", "said", "don't", "go", "it's", "nine", "o'clock")
    ]


def test_guessed_stress_takes_the_first_model_with_as_many_vowels():
    models = [("AE1", "T"), ("B", "AH0", "L", "UW1", "N"), ("B", "AE1", "L", "AH0", "N")]
    assert guessed_stress(("B", "AE", "L", "UH", "N"), models) == ("B", "AE0", "L", "UH1", "N")


def test_guessed_stress_without_a_model_is_primary_on_the_first_vowel():
    assert guessed_stress(("S", "IY", "T", "IY", "OW"), []) == ("S", "IY1", "T", "IY0", "OW0")
    assert guessed_stress(("S", "T"), []) == ("S", "T")


@pytest.mark.parametrize("key", list(itertools.product(SENTENCES[:3], VOICES)))
def test_stress_never_changes_which_phones_were_heard(lexicon, aligned, key):
    bare = Aligner({}, letter_to_sound())
    said = Flite(VOICES).speak(key[0], key[1], 1.05)
    times = [(p.rstrip("012"), b, e) for p, b, e in bare.align(said.pcm, key[0], 7)]
    assert times == [(p.rstrip("012"), b, e) for p, b, e in aligned[key]]
