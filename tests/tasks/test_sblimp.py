import collections
import dataclasses

import pytest

from ray_slm.corpora.text import clean_text
from ray_slm.tasks.grammar import expand, load_grammar
from ray_slm.tasks.sblimp import TASK, Sblimp, share
from ray_slm.tasks.vocabulary import words_of


@pytest.fixture(scope="module")
def made(made_by):
    return made_by("sblimp")


def test_the_same_corpus_gives_the_same_pairs(made, corpus):
    assert TASK.items(corpus) == made
    assert dataclasses.replace(TASK, seed=1).items(corpus).pairs != made.pairs


def test_phenomena_are_many_and_of_equal_weight(made):
    types = collections.Counter(pair.type for pair in made.pairs)
    assert len(types) >= 12
    assert set(types.values()) == {TASK.num_pairs_per_phenomenon}
    subtypes = collections.Counter(pair.cluster for pair in made.pairs)
    assert len(subtypes) > 2 * len(types)
    assert all(pair.cluster == pair.subtype for pair in made.pairs)


def test_no_sentence_stands_twice(made):
    sentences = collections.Counter(
        s for pair in made.pairs for s in (pair.positive, pair.negative)
    )
    assert [s for s, count in sentences.items() if count > 1] == []
    assert len({pair.id for pair in made.pairs}) == len(made.pairs)


def test_every_word_is_in_the_training_vocabulary(made, training):
    for pair in made.pairs:
        for word in words_of(f"{pair.positive} {pair.negative}"):
            assert training.counts[word] >= TASK.min_count, (pair.id, word)


def test_sides_differ_and_only_minimally(made):
    for pair in made.pairs:
        good, bad = words_of(pair.positive), words_of(pair.negative)
        assert len(good) == len(bad)
        different = [(a, b) for a, b in zip(good, bad, strict=True) if a != b]
        assert different
        if len(different) > 2:  # then words only changed places
            assert sorted(good) == sorted(bad), pair.id
        else:
            assert len(different) == 1 or sorted(good) == sorted(bad), pair.id


def test_sentences_are_written_as_the_corpus_is(made):
    for pair in made.pairs:
        for text in (pair.positive, pair.negative):
            assert text == clean_text(text)
            assert text[0].isupper()
            assert text[-1] in ".?"


def test_word_statistics_do_not_give_the_answer_away(made):
    accuracy = made.remarks["accuracy of baselines"]
    assert accuracy["word 1-gram"]["all"] == pytest.approx(0.5, abs=0.1)
    assert accuracy["word 2-gram"]["all"] == pytest.approx(0.5, abs=0.15)


def test_articles_fit_the_next_word():
    grammar = load_grammar()
    template = grammar.paradigms[0].templates[0].replace("the <trait>", "a <trait>")
    words = {form.lower() for words in grammar.lists.values() for x in words.lexemes for form in x}
    found = [pair.good.split()[:2] for pair in expand(template, grammar, words, 300, "0")]
    assert ["An", "unhappy"] in found
    assert ["A", "young"] in found
    assert all((article == "An") == (word[0] in "aeiou") for article, word in found)


def test_a_vocabulary_too_small_is_named(tmp_path, write_corpus):
    texts = ["The lady was very happy.", "The ladies were very happy in the garden."]
    corpus = write_corpus(tmp_path, [("emma", i, text) for i, text in enumerate(texts)])
    with pytest.raises(ValueError, match=r"supports 0 of the 12 .* list 'name' \(s\) has 0 words"):
        Sblimp(min_count=1, grammar_sha256=TASK.grammar_sha256).items(corpus)


def test_a_corpus_without_training_text_is_refused(tmp_path, write_corpus):
    write_corpus(tmp_path, [("persuasion", 0, "The lady was very happy.")])
    with pytest.raises(ValueError, match="no utterance of the split 'train'"):
        TASK.items(tmp_path)


def test_another_grammar_needs_another_task(corpus):
    with pytest.raises(ValueError, match="put the new digest into"):
        Sblimp(grammar_sha256="000000000000").items(corpus)


def test_a_mistake_in_a_grammar_file_is_named(tmp_path):
    path = tmp_path / "grammar.toml"
    head = '[words.a]\nforms = ["s", "p"]\nwords = "box boxes"\n'
    paradigm = '[[paradigm]]\ntype = "t"\nsubtype = "s"\ntemplates = ["{}"]\n'
    for template, message in [
        ("the <a.s> {was|were} old.", None),
        ("the <a.q> {was|were} old.", r"no list or form <a\.q>"),
        ("the <b> {was|were} old.", "no list or form <b>"),
        ("the <a> was old.", "no {good|bad} alternative"),
    ]:
        path.write_text(head + paradigm.format(template))
        if message is None:
            assert len(load_grammar(path).paradigms) == 1
        else:
            with pytest.raises(ValueError, match=message.replace("|", r"\|")):
                load_grammar(path)
    path.write_text(head.replace("box boxes", "box"))
    with pytest.raises(ValueError, match="lacks one of forms"):
        load_grammar(path)


def test_shares_add_up():
    assert share(25, 4) == [7, 6, 6, 6]
    assert share(1, 3) == [1, 0, 0]
