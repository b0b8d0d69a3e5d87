import collections
import dataclasses
import json

import pytest

from ray_slm.tasks.topic_story_cloze import TASK, TopicStoryCloze, unpaired


@pytest.fixture(scope="module")
def made(made_by):
    return made_by("topic-storycloze")


@pytest.fixture(scope="module")
def books(corpus):
    """Per held-out book its text, with quotation marks taken out as in the stories."""
    texts = collections.defaultdict(list)
    for line in (corpus / "held_out.jsonl").read_text().splitlines():
        row = json.loads(line)
        texts[row["book"]].append(unpaired(row["text"]))
    return {book: " ".join(sentences) for book, sentences in texts.items()}


def endings(pair):
    """What follows the common beginning on either side."""
    shared = 0
    while pair.positive[shared] == pair.negative[shared]:
        shared += 1
    cut = max(pair.positive.rfind(mark, 0, shared) for mark in (". ", "! ", "? ")) + 2
    return pair.positive[:cut], pair.positive[cut:], pair.negative[cut:]


def test_the_same_corpus_gives_the_same_pairs(made, corpus):
    assert TASK.items(corpus) == made
    assert dataclasses.replace(TASK, seed=1).items(corpus).pairs != made.pairs


def test_a_true_story_stands_in_one_held_out_book_word_for_word(made, books, held_out_books):
    assert books.keys() == held_out_books
    assert len({pair.id for pair in made.pairs}) == len(made.pairs) == TASK.num_pairs
    for pair in made.pairs:
        assert pair.positive in books[pair.subtype]


def test_a_foreign_ending_is_from_another_book(made, books):
    for pair in made.pairs:
        _, _, foreign = endings(pair)
        assert foreign not in books[pair.subtype]
        assert any(foreign in text for book, text in books.items() if book != pair.subtype)


def test_each_ending_is_right_once_and_wrong_once(made):
    told = [endings(pair) for pair in made.pairs]
    assert sorted(true for _, true, _ in told) == sorted(foreign for _, _, foreign in told)


def test_endings_match_in_length(made):
    assert made.remarks["share within one word"] >= 0.7
    for pair in made.pairs:
        _, true, foreign = endings(pair)
        assert abs(len(true.split()) - len(foreign.split())) <= 4
        assert len(pair.positive.split()) <= TASK.max_story_words


def test_no_sentence_is_told_in_two_stories(made):
    beginnings = [endings(pair)[0] for pair in made.pairs]
    sentences = [s for b in beginnings for s in b.replace("!", ".").split(". ") if len(s) > 40]
    assert len(set(sentences)) == len(sentences)


def test_word_statistics_do_not_give_the_answer_away(made):
    assert made.remarks["accuracy of baselines"]["word 2-gram"] == pytest.approx(0.5, abs=0.15)


@pytest.mark.parametrize("num_pairs", [1, 3, 7])
def test_odd_numbers_of_stories_borrow_one_ending(corpus, num_pairs):
    pairs = TopicStoryCloze(num_pairs=num_pairs).items(corpus).pairs
    assert len(pairs) == num_pairs
    assert len({endings(pair)[2] for pair in pairs}) == num_pairs


def test_too_few_stories_are_refused(corpus):
    with pytest.raises(ValueError, match=r"needs 5000 of 2 or more; hold out more books"):
        TopicStoryCloze(num_pairs=5000).items(corpus)


def test_held_out_sentences_must_be_there_and_held_out(tmp_path, write_corpus):
    write_corpus(tmp_path, [("emma", 0, "Emma was very happy.")])
    with pytest.raises(ValueError, match=r"held_out.jsonl is missing"):
        TASK.items(tmp_path)
    path = tmp_path / "held_out.jsonl"
    path.write_text(json.dumps({"book": "persuasion", "sentence": "Anne was ill."}) + "\n")
    with pytest.raises(ValueError, match=r"held_out.jsonl:1 needs book, index and text"):
        TASK.items(tmp_path)
    path.write_text(json.dumps({"book": "emma", "index": 1, "text": "Emma was ill."}) + "\n")
    with pytest.raises(ValueError, match=r"training books \['emma'\]"):
        TASK.items(tmp_path)
