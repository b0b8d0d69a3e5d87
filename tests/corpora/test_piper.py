import dataclasses
import subprocess
import sys

import numpy as np
import pytest

from ray_slm.corpora.assets import locate
from ray_slm.corpora.corpus import prepare_all
from ray_slm.corpora.laptop import LaptopCorpus
from ray_slm.corpora.letters import LetterToSound
from ray_slm.corpora.lexicon import PHONE_SET, PHONES, VOWELS, read_cmudict, without_stress
from ray_slm.corpora.piper import ipa, possessive
from ray_slm.corpora.synthesis import Unspeakable, load_speaker
from ray_slm.corpora.utterance import SAMPLE_RATE_HZ, read_utterances

SENTENCE = "The family of Dashwood had long been settled in Sussex."


@pytest.fixture(scope="module")
def dictionary(places):
    return read_cmudict(locate(places, "cmudict"))


@pytest.fixture(scope="module")
def joe(places):
    return load_speaker("piper-joe", ["joe"], places)


@pytest.fixture(scope="module")
def reader(joe):
    return joe.reader


@pytest.fixture(scope="module")
def spoken(joe):
    return joe.speak(SENTENCE, "joe")


def edits(one, other):
    """Levenshtein distance."""
    row = list(range(len(other) + 1))
    for i, x in enumerate(one, start=1):
        before, row[0] = row[0], i
        for j, y in enumerate(other, start=1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (x != y))
    return row[-1]


def test_the_words_are_aligned_from_start_to_end(spoken):
    assert spoken.pcm.dtype == np.int16
    assert set(spoken.phones) <= PHONE_SET
    assert all(np.diff((0, *spoken.ends)) > 0)
    assert spoken.ends[-1] == len(spoken.pcm)
    said = [phone for phone in spoken.phones if phone != "SIL"]
    written = (
        "DH AH F AE M AH L IY AH V D AE SH W UH D HH AE D L AO NG B IH N S EH T AH L D IH N "
        "S AH S AH K S"
    )
    distance = edits(without_stress(said), written.split())
    assert distance <= 3, "words have variants, among which the aligner chooses"
    seconds = len(spoken.pcm) / SAMPLE_RATE_HZ
    assert 9 < len(said) / seconds < 15


def test_sound_is_where_the_phones_are(spoken):
    vowels, silences = [], []
    for phone, start, end in zip(spoken.phones, (0, *spoken.ends), spoken.ends, strict=False):
        energy = float(np.mean(spoken.pcm[start:end].astype(float) ** 2))
        if phone == "SIL":
            silences.append(energy)
        elif phone[:2] in VOWELS:
            vowels.append(energy)
    assert silences
    assert max(silences) < np.median(vowels) / 20


def test_what_was_said_before_changes_no_sample(joe, spoken):
    joe.speak("Something quite different, surely!", "joe", 0.9, 1.1)
    again = joe.speak(SENTENCE, "joe")
    assert np.array_equal(again.pcm, spoken.pcm)
    assert (again.phones, again.ends) == (spoken.phones, spoken.ends)


def test_stretch_multiplies_durations_whatever_the_pitch(joe):
    fast = joe.speak(SENTENCE, "joe", 0.85, 1.1)
    slow = joe.speak(SENTENCE, "joe", 1.2, 0.9)
    assert len(slow.pcm) / len(fast.pcm) == pytest.approx(1.2 / 0.85, rel=0.1)


def test_numerals_and_wordless_text_are_refused(joe):
    with pytest.raises(Unspeakable, match=r"^TEXT_DIGITS: write '23'"):
        joe.speak("On the 23rd he left.", "joe")
    with pytest.raises(Unspeakable, match=r"^EMPTY_TEXT"):
        joe.speak("?!", "joe")
    with pytest.raises(ValueError, match="no voice 'slt'"):
        joe.speak(SENTENCE, "slt")


def test_the_laptop_corpus_reads_the_same_lines_with_this_voice(places, tmp_path):
    flite = LaptopCorpus(train_hours=0.005, dev_minutes=0.1, num_shards=1)
    corpus = dataclasses.replace(flite, voice_rung="piper-joe", voices=("joe",))
    summary = prepare_all(corpus, tmp_path, places)
    assert summary["quarantined"] == {}
    assert summary["aligned_by"] == ["pocketsphinx 5.1.1 forced alignment"]
    ids = {u.id for u in read_utterances(tmp_path)}
    assert ids == {line.id for line in flite.lines(places)}


def test_without_onnxruntime_the_remedy_is_said(places):
    program = (
        "import sys, pathlib; sys.modules['onnxruntime'] = None\n"
        "from ray_slm.corpora.synthesis import load_speaker\n"
        "load_speaker('piper-joe', ['joe'], {'assets': pathlib.Path(sys.argv[1])})\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(places["assets"])], capture_output=True, text=True
    )
    assert "pip install onnxruntime" in done.stderr.splitlines()[-1]


def test_phones_are_written_as_the_voice_learned_them(joe):
    assert ipa(("HH", "AH0", "L", "OW1")) == "h\u0259l\u02c8o\u028a"
    assert ipa(("B", "ER1", "D", "ER0")) == "b\u02c8\u025c\u02d0d\u025a"
    for phone in PHONES[:-2]:
        assert all(symbol in joe._ids for symbol in ipa((phone,)))


def test_pauses_stay_with_the_word_before_them(reader):
    assert reader.symbols('"Yes, yes!" (no)') == "j\u02c8\u025bs, j\u02c8\u025bs! n\u02c8o\u028a"


@pytest.mark.parametrize(
    ("noun", "ending"),
    [("ROSE", ("IH0", "Z")), ("CAT", ("S",)), ("DOG", ("Z",)), ("BEE", ("Z",))],
)
def test_possessives_follow_their_noun(dictionary, noun, ending):
    phones = dictionary[noun.lower()][0]
    assert possessive(phones) == (*phones, *ending)


def test_unknown_words_are_read_by_rule(reader):
    assert without_stress(reader.pronounce("Knightley's")) == ("N", "AY", "T", "L", "IY", "Z")
    assert reader.pronounce("cat's") == ("K", "AE1", "T", "S")


def test_rules_read_nine_tenths_of_the_phones_of_words_they_never_saw(dictionary):
    words = [word for word in sorted(dictionary) if word.isalpha()][:12000]
    held_out = words[5::40]
    rules = LetterToSound({w: dictionary[w] for w in words if w not in held_out}, every=1)
    wrong = total = 0
    for word in held_out:
        guess = rules.pronounce(word)
        assert sum(phone.endswith("1") for phone in guess) <= 1
        wrong += min(edits(without_stress(guess), without_stress(p)) for p in dictionary[word])
        total += len(dictionary[word][0])
    assert wrong / total < 0.2


def test_rules_refuse_letters_they_never_saw():
    rules = LetterToSound({"ab": [("AE1", "B")], "ba": [("B", "AH0")]}, every=1)
    assert rules.pronounce("AB") == ("AE1", "B")
    with pytest.raises(ValueError, match=r"'abc' cannot be read: no rule says how \['c'\]"):
        rules.pronounce("abc")
    with pytest.raises(ValueError, match="none of 1 dictionary entries"):
        LetterToSound({"x.": [("EH1", "K", "S")]})
