import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ray_slm.corpora.alignment import frame_count
from ray_slm.corpora.lexicon import PHONES
from ray_slm.corpora.utterance import Quarantined
from ray_slm.modalities.phone_bpe import PhoneBpe
from ray_slm.modalities.phone_raw import PhoneRaw
from ray_slm.modalities.phone_repeat import PhoneRepeat
from tests.modalities.conftest import tables, tokenize

PHONE_LISTS = st.lists(st.sampled_from(PHONES), min_size=1, max_size=30).map(tuple)
VOCAB_SIZE = 200


def merged(phones):
    """Phones with neighboring silences as one, said in another way."""
    kept = []
    for phone, group in itertools.groupby(phones):
        kept += [phone] if phone == "SIL" else list(group)
    return tuple(kept)


@pytest.fixture(scope="module")
def vocabulary(speech, tmp_path_factory):
    folder = tmp_path_factory.mktemp("phone-bpe")
    PhoneBpe(vocab_size=VOCAB_SIZE).fit(tables(speech.utterances), None, folder, {})
    return folder


@pytest.fixture(scope="module")
def tokenizers(vocabulary):
    return {
        "raw": PhoneRaw().load(None, {}),
        "bpe": PhoneBpe(vocab_size=VOCAB_SIZE).load(vocabulary, {}),
        "repeat": PhoneRepeat().load(None, {}),
    }


@settings(max_examples=50)
@given(lists=st.lists(PHONE_LISTS, min_size=1, max_size=4))
@pytest.mark.parametrize("name", ["raw", "bpe"])
def test_phones_come_back_with_neighboring_silences_as_one(tokenizers, say, name, lists):
    tokenizer = tokenizers[name]
    found = tokenize(tokenizer, [say(phones=phones) for phones in lists], None)
    assert [tokenizer.decode(ids) for ids in found] == [merged(phones) for phones in lists]


def test_an_interval_is_a_token_in_the_order_of_the_inventory(tokenizers, say):
    (ids,) = tokenize(tokenizers["raw"], [say(phones=("SIL", "HH", "AH0", "SIL"))], None)
    assert ids.tolist() == [PHONES.index(phone) for phone in ("SIL", "HH", "AH0", "SIL")]
    assert tokenizers["raw"].vocab_size == 71


def test_an_unlabeled_end_is_a_silence_unless_an_aligner_only_snipped_it(tokenizers, say):
    snipped = say(phones=("HH", "AH0"), ends=(800, 1600), num_samples=2000)
    silent = say(phones=("HH", "AH0"), ends=(800, 1600), num_samples=8000)
    found = tokenize(tokenizers["raw"], [snipped, silent], None)
    decode = tokenizers["raw"].decode
    assert [decode(ids) for ids in found] == [("HH", "AH0"), ("HH", "AH0", "SIL")]
    repeated = tokenize(tokenizers["repeat"], [silent], None)[0]
    assert [phone for phone, _ in itertools.groupby(tokenizers["repeat"].decode(repeated))] == [
        "HH",
        "AH0",
        "SIL",
    ]


def test_no_piece_holds_a_silence_and_some_cross_words(tokenizers, speech):
    tokenizer = tokenizers["bpe"]
    pieces = [tokenizer.decode(np.array([i])) for i in range(VOCAB_SIZE)]
    assert len(set(pieces)) == VOCAB_SIZE == tokenizer.vocab_size
    assert [piece for piece in pieces if "SIL" in piece] == [("SIL",)]
    ids = tokenize(tokenizer, speech.utterances, None)
    raw = tokenize(tokenizers["raw"], speech.utterances, None)
    assert sum(map(len, ids)) < 0.6 * sum(map(len, raw))


def test_pieces_cross_words_where_words_follow_each_other_often(say, tmp_path):
    utterances = [
        say(id=f"u{i}", transcript="to it", phones=("T", "UW1", "IH1", "T")) for i in range(20)
    ]
    stream = PhoneBpe(vocab_size=74)
    stream.fit(tables(utterances), None, tmp_path, {})
    (ids,) = tokenize(stream.load(tmp_path, {}), utterances[:1], None)
    assert len(ids) == 1


def test_a_phone_vocabulary_beyond_the_data_is_refused(speech, tmp_path):
    with pytest.raises(ValueError, match=r"phone-bpe .* asked for, but .* at most; lower"):
        PhoneBpe(vocab_size=20_000).fit(tables(speech.utterances), None, tmp_path, {})


def test_the_repeated_phone_holds_the_center_of_each_frame(tokenizers, speech):
    for utterance, ids in zip(
        speech.utterances[:20],
        tokenize(tokenizers["repeat"], speech.utterances[:20], None),
        strict=True,
    ):
        assert len(ids) == frame_count(utterance.num_samples)
        for t, phone in enumerate(tokenizers["repeat"].decode(ids)):
            center = 320 * t + 160
            inside = next(i for i, end in enumerate(utterance.ends) if center < end)
            assert phone == utterance.phones[inside]


@pytest.mark.parametrize("name", ["raw", "bpe", "repeat"])
def test_unknown_phones_and_missing_alignments_are_refused_among_good_ones(tokenizers, say, name):
    utterances = [
        say(id="good", phones=("HH", "AH0", "SIL")),
        say(id="unknown", phones=("HH", "QQ")),
        say(id="none", phones=(), ends=(), num_samples=16_000),
        say(id="fine", phones=("SIL", "T")),
    ]
    found = tokenize(tokenizers[name], utterances, None)
    assert [isinstance(one, Quarantined) for one in found] == [False, True, True, False]
    assert (found[1].id, found[1].reason) == ("unknown", "UNKNOWN_SYMBOL")
    assert "'QQ'" in found[1].detail
    assert (found[2].id, found[2].reason) == ("none", "NO_PHONES")


def test_an_utterance_too_short_for_a_frame_is_refused_by_the_repeating_form_only(tokenizers, say):
    short = say(phones=("T",), ends=(300,))
    assert tokenize(tokenizers["repeat"], [short], None)[0].reason == "TOO_SHORT"
    assert len(tokenize(tokenizers["raw"], [short], None)[0]) == 1
