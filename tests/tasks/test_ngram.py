import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_slm.tasks.ngram import NgramModel, accuracy, preference

WORDS = [("cottage", 5), ("village", 9), ("carriage", 3)]


def test_probabilities_of_all_next_letters_sum_to_one():
    model = NgramModel(WORDS, 3)
    letters = sorted({letter for word, _ in WORDS for letter in word})
    history = ("", "c")
    seen = sum(model._probability(history, letter) for letter in [*letters, ""])
    unseen = model._probability(history, "?")
    assert seen + unseen == pytest.approx(1.0)


def test_a_longer_context_prefers_what_was_seen():
    pair = [("cottage", "cattoge")]
    assert accuracy(NgramModel(WORDS, 1), pair) == 0.5  # the same letters
    assert accuracy(NgramModel(WORDS, 3), pair) == 1.0


def test_words_are_symbols_too():
    model = NgramModel([(("the", "lady", "was"), 3), (("the", "ladies", "were"), 3)], 2)
    assert preference(model, ("the", "lady", "was"), ("the", "lady", "were")) == 1.0


@given(st.lists(st.text("abc", min_size=1, max_size=5), min_size=1), st.text("abcd", max_size=6))
def test_every_score_is_a_log_probability(words, text):
    score = NgramModel([(word, 1) for word in words], 2).score(text)
    assert -math.inf < score <= 0


def test_a_baseline_needs_pairs():
    with pytest.raises(ValueError, match="at least one pair"):
        accuracy(NgramModel(WORDS, 2), [])
