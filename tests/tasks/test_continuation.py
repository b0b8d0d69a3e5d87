"""Prompts: held-out utterances cut at one place in text, phones and audio."""

import dataclasses

import pytest

from ray_slm.corpora.utterance import Utterance
from ray_slm.tasks.continuation import Continuation, choose_prompts, sample_seed

WORDS = {
    "one": ("W", "AH", "N"),
    "two": ("T", "UW"),
    "big": ("B", "IH", "G"),
    "men": ("M", "EH", "N"),
}
DICTIONARY = {word: [phones] for word, phones in WORDS.items()}
TASK = Continuation(num_prompts=3, prompt_seconds=2.4)


def utterance(name, text, phone_samples=3200):
    """An utterance whose commas are pauses; every phone lasts ``phone_samples``."""
    phones = ["SIL"]
    for word in text.split():
        phones += [f"{p}1" if p in ("AH", "UW", "IH", "EH") else p for p in WORDS[word.strip(",.")]]
        phones += ["SIL"] * word.endswith((",", "."))
    ends = [phone_samples * (i + 1) for i in range(len(phones))]
    return Utterance(
        id=name,
        split="dev",
        speaker="s",
        book="b",
        transcript=text,
        audio="a.wav",
        start=1000,
        num_samples=ends[-1],
        phones=tuple(phones),
        ends=tuple(ends),
        aligned_by="hand",
    )


LONG = "two big men, one big men two big men one two."


@pytest.fixture(scope="module")
def prompts():
    candidates = [utterance(f"u{i}", LONG) for i in range(9)]
    return choose_prompts(candidates, DICTIONARY, TASK)


def test_the_two_parts_are_the_utterance(prompts):
    assert len(prompts) == 3
    for name, prompt, rest in prompts:
        whole = utterance(name, LONG)
        assert f"{prompt.transcript} {rest.transcript}" == whole.transcript
        assert prompt.phones + rest.phones == whole.phones
        assert prompt.num_samples + rest.num_samples == whole.num_samples
        assert (prompt.start, rest.start) == (whole.start, whole.start + prompt.num_samples)
        assert prompt.ends[-1] == prompt.num_samples
        assert rest.ends[-1] == rest.num_samples
        assert rest.ends == tuple(e - prompt.num_samples for e in whole.ends[len(prompt.ends) :])


def test_the_cut_is_the_nearest_to_the_length_asked_for(prompts):
    for _, prompt, _ in prompts:  # 0.2 s a phone
        assert prompt.transcript == "two big men, one"
        assert prompt.duration == pytest.approx(2.6)


def test_no_cut_at_a_pause_or_a_mark():
    only_pauses = utterance("p", "two big men, one big men, two big men.", 4000)
    task = dataclasses.replace(TASK, num_prompts=1, prompt_seconds=2.7)
    ((_, prompt, _),) = choose_prompts([only_pauses], DICTIONARY, task)
    assert prompt.transcript == "two big men, one"  # "two big men" ends nearer, at a pause


def test_the_choice_depends_on_ids_alone():
    candidates = [utterance(f"u{i}", LONG) for i in range(9)]
    assert choose_prompts(candidates[::-1], DICTIONARY, TASK) == choose_prompts(
        candidates, DICTIONARY, TASK
    )
    other = choose_prompts(candidates, DICTIONARY, dataclasses.replace(TASK, seed=5))
    assert [p.id for p in other] != [p.id for p in choose_prompts(candidates, DICTIONARY, TASK)]


def test_too_few_utterances_are_refused_with_the_remedy():
    with pytest.raises(ValueError, match=r"0 can be cut.*lower num_prompts"):
        choose_prompts([utterance("short", "two men.")], DICTIONARY, TASK)


def test_samples_have_seeds_of_their_own():
    seeds = {sample_seed(TASK, f"p{i}", k) for i in range(20) for k in range(10)}
    assert len(seeds) == 200
    assert sample_seed(dataclasses.replace(TASK, seed=1), "p0", 0) not in seeds


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("num_samples", 0, "must be at least 1"),
        ("top_p", 0.0, r"must be in \(0, 1\]"),
        ("temperature", 0.0, "above 0"),
        ("max_seconds", 40.0, "30 s that Whisper hears"),
    ],
)
def test_impossible_values_are_refused(field, value, words):
    with pytest.raises(ValueError, match=words):
        dataclasses.replace(TASK, **{field: value})
