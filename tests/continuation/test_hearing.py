"""Recognizer and judge: real weights, and the arithmetic around them."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from ray_slm.continuation.judge import folder_digest, open_judge
from ray_slm.continuation.speech import runs, say_phones, say_text, say_units
from ray_slm.continuation.transcribe import open_whisper, plain_words, word_errors
from ray_slm.corpora.flite_process import flite_process
from ray_slm.tasks.continuation import Judge, Transcriber

TEXTS = ("She was very fond of her sister.", "It was a fine day in the country.")
PROMPTS = ["the anxieties of common life", "she was"]
AFTER = ["began soon to succeed to the alarms of romance", "very fond of her sister"]


@pytest.fixture(scope="module")
def recognizer(places):
    return open_whisper(Transcriber(), places)


@pytest.fixture(scope="module")
def judge(places):
    return open_judge(Judge(), places)


def test_speech_becomes_its_words_and_silence_nothing(recognizer):
    speaker = flite_process(("slt",))
    clips = [speaker.speak(text, "slt").pcm.astype(np.float32) / 32768 for text in TEXTS]
    silence = np.zeros(16_000, dtype=np.float32)
    heard = recognizer.transcribe([clips[0], silence, clips[1], silence[:0]])
    assert heard[1] == heard[3] == ""
    for text, found in zip(TEXTS, heard[::2], strict=True):
        errors, words = word_errors(text, found)
        assert errors <= 1 < words


def test_a_users_checkpoint_is_opened_by_whisper_itself(tmp_path, recognizer):
    import hashlib

    model = recognizer._model
    path = tmp_path / "mine.pt"
    torch.save({"dims": vars(model.dims), "model_state_dict": model.state_dict()}, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    own = open_whisper(Transcriber(checkpoint="mine", sha256=digest), {"mine": path})
    clip = flite_process(("slt",)).speak(TEXTS[0], "slt").pcm.astype(np.float32) / 32768
    assert own.transcribe([clip]) == recognizer.transcribe([clip])
    with pytest.raises(ValueError, match="is pinned"):
        open_whisper(Transcriber(checkpoint="mine", sha256="0" * 64), {"mine": path})


@pytest.mark.parametrize(
    ("said", "heard", "errors", "words"),
    [
        ("alpha beta gamma", "Alpha, beta gamma.", 0, 3),
        ("alpha beta gamma", "", 3, 3),
        ("", "alpha beta", 2, 0),
        ("alpha beta gamma", "alpha gamma", 1, 3),
        ("alpha beta", "alpha new beta", 1, 2),
        ("alpha beta gamma", "delta beta", 2, 3),
        ("Don't, Mr. Gray!", "do not mister gray", 0, 4),
        ("a colour", "a color", 0, 2),
    ],
)
def test_word_errors(said, heard, errors, words):
    assert word_errors(said, heard) == (errors, words)


def test_words_without_marks_and_capitals():
    assert plain_words('"Oh, no; Catherine\u2019s 2nd!"') == "oh no catherine's 2nd"


def test_the_judge_counts_the_continuation_after_the_prompt(judge):
    """The same sums by transformers' own loss, text by text."""
    for prompt, after, found in zip(PROMPTS, AFTER, judge.judge(PROMPTS, AFTER), strict=True):
        tokenizer, model = judge._tokenizer, judge._model
        first = [tokenizer.bos_token_id, *tokenizer(prompt)["input_ids"]]
        whole = torch.tensor([[*first, *tokenizer(f" {after}")["input_ids"]]])
        labels = whole.clone()
        labels[:, : len(first)] = -100
        with torch.inference_mode():
            own, both = (float(model(whole, labels=x).loss) for x in (labels, whole))
        assert found.judge_tokens == whole.shape[1] - len(first)
        assert found.nats / found.judge_tokens == pytest.approx(own, rel=1e-4)
        assert found.whole_nats / found.whole_tokens == pytest.approx(both, rel=1e-4)


def test_neighbors_change_nothing_and_nothing_follows_an_empty_text(judge):
    together = judge.judge([*PROMPTS, PROMPTS[0]], [*AFTER, ""])
    for i, found in enumerate(together[:2]):
        (alone,) = judge.judge([PROMPTS[i]], [AFTER[i]])
        assert found.nats == pytest.approx(alone.nats, rel=1e-5)
    assert together[2].judge_tokens == 0
    assert together[2].nats == 0


def test_real_text_is_likelier_than_its_words_shuffled(judge):
    shuffled = ["romance alarms the of to succeed to soon began", "sister her of fond very"]
    real, wrong = judge.judge(PROMPTS, AFTER), judge.judge(PROMPTS, shuffled)
    assert all(a.nats < b.nats for a, b in zip(real, wrong, strict=True))


def test_any_folder_of_transformers_may_judge(tmp_path, judge):
    config = LlamaConfig(
        vocab_size=judge._model.config.vocab_size,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
    )
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(tmp_path)
    judge._tokenizer.save_pretrained(tmp_path)
    recipe = Judge(name="mine", sha256=folder_digest(tmp_path))
    (found,) = open_judge(recipe, {"mine": tmp_path}).judge(PROMPTS[:1], AFTER[:1])
    uniform = math.log(config.vocab_size)
    assert found.nats / found.judge_tokens == pytest.approx(uniform, rel=0.05)
    with pytest.raises(ValueError, match="if these are the weights you mean"):
        open_judge(dataclasses.replace(recipe, sha256="0" * 64), {"mine": tmp_path})


def test_runs_of_frames_become_intervals():
    assert runs(("B", "B", "AH1", "SIL", "SIL", "SIL")) == (["B", "AH1", "SIL"], [640, 960, 1920])


def test_what_cannot_be_said_is_silence():
    nothing = np.zeros(0, dtype=np.uint16)
    units = np.zeros(3, dtype=np.uint16)
    for say in (
        say_text(lambda ids: " ;.,", "kal16"),
        say_phones(lambda ids: (), "kal16", at_50_hz=False),
        say_phones(lambda ids: (), "kal16", at_50_hz=True),
    ):
        assert len(say(units).waveform_S) == len(say(nothing).waveform_S) == 0
    assert say_text(lambda ids: " ;.,", "kal16")(units).written == ";.,"


def test_a_text_that_is_too_long_to_hear_is_cut():
    long = say_text(lambda ids: "very " * 400, "kal16")(np.zeros(3, dtype=np.uint16))
    assert len(long.waveform_S) == 480_000

    class Endless:
        def speak(self, units_U):
            return np.ones(600_000, dtype=np.float32)

    assert len(say_units(Endless())(np.zeros(3, dtype=np.uint16)).waveform_S) == 480_000
