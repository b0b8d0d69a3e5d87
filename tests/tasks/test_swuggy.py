import dataclasses

import pytest

from ray_slm.corpora.lexicon import pocketsphinx_pronunciations, without_stress
from ray_slm.tasks import swuggy
from ray_slm.tasks.pseudo_words import PseudoWords, chain_of, num_changed
from ray_slm.tasks.real_words import RealWords, flite_pronounce, frequent_words
from ray_slm.tasks.swuggy import TASK, Band, Swuggy


@pytest.fixture(scope="module")
def made(made_by):
    return made_by("swuggy")


def test_the_same_corpus_gives_the_same_pairs(corpus):
    few = Swuggy(num_pairs=10)
    made = few.items(corpus)
    assert few.items(corpus) == made
    assert dataclasses.replace(few, seed=1).items(corpus).pairs != made.pairs


def test_pairs_are_many_and_different(made):
    assert len(made.pairs) == TASK.num_pairs
    for field in ("id", "positive", "negative", "cluster"):
        assert len({getattr(pair, field) for pair in made.pairs}) == TASK.num_pairs


def test_words_are_training_words_in_their_bands(made, training):
    for pair in made.pairs:
        count = training.counts[pair.positive]
        low, _, high = pair.band.rstrip("+").partition("-")
        assert int(low) <= count <= int(high or count)
        assert pair.positive.islower()
        assert 2 * training.uncapitalized[pair.positive] > count  # no name
    assert {pair.band for pair in made.pairs} == {"1-4", "5-19", "20-99", "100+"}


def test_pseudo_words_are_no_words(made, training):
    known = frequent_words(0.0) | pocketsphinx_pronunciations().keys() | training.counts.keys()
    assert not {pair.negative for pair in made.pairs} & known


def test_pseudo_words_sound_like_no_word(made):
    real = {p for variants in pocketsphinx_pronunciations().values() for p in variants}
    pronounce = flite_pronounce()
    assert pronounce is not None
    assert made.remarks["homophones filtered"] is True
    for pair in made.pairs:
        phones = without_stress(pronounce(pair.negative))
        assert phones not in real
        assert abs(len(phones) - len(pronounce(pair.positive))) <= 1


def test_pseudo_words_keep_the_pattern_of_their_words(made):
    for pair in made.pairs:
        own, other = chain_of(pair.positive), chain_of(pair.negative)
        assert [len(run) for run in own] == [len(run) for run in other]
        assert sum(a != b for a, b in zip(own, other, strict=True)) == num_changed(len(own))


def test_short_letter_models_hardly_tell_words_from_pseudo_words(made):
    accuracy = made.remarks["accuracy of baselines"]
    assert accuracy["letter 3-gram"] == pytest.approx(0.5, abs=0.1)
    assert accuracy["letter 2-gram"] == pytest.approx(0.5, abs=0.2)
    assert accuracy["letter 6-gram"] > 0.9  # it knows the lexicon, as a language model should


def test_without_flite_the_remarks_say_that_homophones_remain(corpus, monkeypatch):
    monkeypatch.setattr(swuggy, "flite_pronounce", lambda: None)
    made = Swuggy(num_pairs=5).items(corpus)
    assert made.remarks["homophones filtered"] is False


def test_limits_on_counts_hold_and_a_poor_corpus_is_refused(corpus, training):
    rare = Swuggy(num_pairs=20, min_count=2, max_count=4).items(corpus)
    assert {training.counts[pair.positive] for pair in rare.pairs} <= {2, 3}
    with pytest.raises(ValueError, match=r"found \d+ of 50 word pairs; prepare a larger corpus"):
        Swuggy(num_pairs=50, min_count=500).items(corpus)


def test_bands_are_half_open():
    assert [count in Band(5, 20) for count in (4, 5, 19, 20)] == [False, True, True, False]
    assert 10**9 in Band(100, None)
    with pytest.raises(ValueError, match="band_edges"):
        Swuggy(band_edges=(5, 1, 20, 100))


def test_candidates_come_in_rings_and_never_twice():
    lexicon = sorted(frequent_words(3.0) & pocketsphinx_pronunciations().keys())
    generator = PseudoWords(lexicon)
    rings = list(generator.rings("cottage", "0"))
    flat = [candidate for ring in rings for candidate in ring]
    assert rings == list(generator.rings("cottage", "0"))
    assert "cottage" not in flat
    assert len(set(flat)) == len(flat) > 50
    assert len(rings[0]) < len(rings[-1]) or not rings[-1]


@pytest.mark.parametrize("text", ["cottage", "unwalked", "friendlinesses", "cottaging", "wickham"])
def test_words_and_their_regular_derivations_are_real(text):
    assert RealWords(["wickham"]).is_spelled(text)
    assert not RealWords([]).is_spelled("vexanion")
