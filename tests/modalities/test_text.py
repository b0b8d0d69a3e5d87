import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ray_slm.corpora.text import TEXT_SYMBOLS
from ray_slm.corpora.utterance import Quarantined
from ray_slm.modalities.sentence_pieces import Pieces
from ray_slm.modalities.text_bpe import TextBpe
from ray_slm.modalities.text_raw import TextRaw
from tests.modalities.conftest import parts, tables, tokenize

TEXTS = st.text(alphabet="".join(TEXT_SYMBOLS), min_size=1, max_size=60)


@pytest.fixture(scope="module")
def vocabulary(speech, tmp_path_factory):
    folder = tmp_path_factory.mktemp("text-bpe")
    summary = TextBpe(vocab_size=150).fit(tables(speech.utterances), speech.waveform, folder, {})
    assert summary["vocab_size"] == 150
    return folder


@pytest.fixture(scope="module")
def bpe(vocabulary):
    return TextBpe(vocab_size=150).load(vocabulary, {})


@given(texts=st.lists(TEXTS, min_size=1, max_size=5))
def test_characters_come_back_from_their_ids(say, texts):
    tokenizer = TextRaw().load(None, {})
    ids = tokenize(tokenizer, [say(transcript=text) for text in texts], None)
    assert [len(one) for one in ids] == [len(text) for text in texts]
    assert [tokenizer.decode(one) for one in ids] == texts


@settings(max_examples=50)
@given(texts=st.lists(TEXTS, min_size=1, max_size=5))
def test_pieces_come_back_and_equal_those_of_whole_sentences(bpe, vocabulary, say, texts):
    ids = tokenize(bpe, [say(transcript=text) for text in texts], None)
    assert [bpe.decode(one) for one in ids] == texts
    whole = Pieces.read(vocabulary).encode([f" {text}" for text in texts])
    assert [one.tolist() for one in ids] == [one.tolist() for one in parts(*whole)]


def test_every_id_is_a_piece_of_its_own(bpe, vocabulary):
    pieces = [Pieces.read(vocabulary).decode(np.array([i])) for i in range(bpe.vocab_size)]
    assert len(set(pieces)) == bpe.vocab_size == 150
    assert set(TEXT_SYMBOLS) <= set(pieces)
    assert not any("unk" in piece or "<s>" in piece for piece in pieces)


def test_pieces_are_shorter_than_characters_on_what_they_were_fitted_on(bpe, speech):
    ids = tokenize(bpe, speech.utterances, None)
    characters = sum(len(utterance.transcript) for utterance in speech.utterances)
    assert sum(map(len, ids)) < 0.7 * characters


@pytest.mark.parametrize("name", ["raw", "bpe"])
def test_unknown_symbols_and_empty_transcripts_are_refused_among_good_ones(name, bpe, say):
    tokenizer = bpe if name == "bpe" else TextRaw().load(None, {})
    texts = ["Good.", "na\u00efve \U0001f600", "", "Also good."]
    found = tokenize(tokenizer, [say(id=text, transcript=text) for text in texts], None)
    assert [isinstance(one, Quarantined) for one in found] == [False, True, True, False]
    assert found[1].reason == "UNKNOWN_SYMBOL"
    assert "'\u00ef'" in found[1].detail
    assert "'\U0001f600'" in found[1].detail
    assert (found[2].reason, found[2].id) == ("EMPTY", "")
    assert tokenizer.decode(found[3]) == "Also good."


def test_a_symbol_never_seen_in_training_is_no_reason_to_refuse(bpe, speech, say):
    assert not any("[" in utterance.transcript for utterance in speech.utterances)
    (ids,) = tokenize(bpe, [say(transcript="[9]")], None)
    assert bpe.decode(ids) == "[9]"


def test_a_vocabulary_beyond_the_data_is_refused_with_the_largest_possible(speech, tmp_path):
    with pytest.raises(ValueError, match=r"text-bpe: 5000 pieces .* give \d+ at most") as error:
        TextBpe(vocab_size=5000).fit(tables(speech.utterances), None, tmp_path, {})
    assert not list(tmp_path.iterdir())
    largest = int(str(error.value).split(" give ")[1].split()[0])
    summary = TextBpe(vocab_size=largest).fit(tables(speech.utterances), None, tmp_path, {})
    assert summary["vocab_size"] == largest


def test_a_vocabulary_below_the_alphabet_is_refused(speech, tmp_path):
    with pytest.raises(ValueError, match="70 pieces are too few, the alphabet alone has 78"):
        TextBpe(vocab_size=70).fit(tables(speech.utterances), None, tmp_path, {})


def test_the_order_of_reading_changes_no_byte(speech, vocabulary, tmp_path):
    TextBpe(vocab_size=150).fit(tables(speech.utterances[::-1]), None, tmp_path, {})
    read = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert read == {path.name: path.read_bytes() for path in vocabulary.iterdir()}


def test_only_a_sample_is_used_when_there_are_more_sentences(speech, tmp_path):
    stream = TextBpe(vocab_size=100, max_sentences=30)
    assert stream.fit(tables(speech.utterances), None, tmp_path, {})["num_sentences"] == 30


def test_held_out_sentences_are_refused_for_fitting(speech, tmp_path):
    held_out = dataclasses.replace(speech.utterances[5], split="dev")
    with pytest.raises(ValueError, match=f"{held_out.id} is of split 'dev'"):
        TextBpe(vocab_size=100).fit(tables([*speech.utterances, held_out]), None, tmp_path, {})


def test_nothing_left_to_fit_on_is_one_clear_error(say, tmp_path):
    with pytest.raises(ValueError, match="no training utterance"):
        TextBpe(vocab_size=100).fit([], None, tmp_path, {})
    with pytest.raises(ValueError, match="no training sentence is left"):
        TextBpe(vocab_size=100).fit(tables([say(transcript="\u00e9")]), None, tmp_path, {})
