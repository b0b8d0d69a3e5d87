"""Ids that must never change in silence: text and phones of made-up utterances, odd ones included.

The digests were taken from the first implementation, which went row by row in plain Python.
"""

import dataclasses
import hashlib
import json

import numpy as np
import pytest

from ray_slm.corpora.utterance import Quarantined
from ray_slm.modalities import phone_bpe, phone_raw, phone_repeat, text_bpe, text_raw
from tests.modalities.conftest import tables, tokenize

STREAMS = {
    "text-bpe": text_bpe.TextBpe(vocab_size=150),
    "text-raw": text_raw.TextRaw(),
    "phone-bpe": phone_bpe.PhoneBpe(vocab_size=200),
    "phone-raw": phone_raw.PhoneRaw(),
    "phone-repeat": phone_repeat.PhoneRepeat(),
}
GOLDEN = {
    "text-bpe": "7de96c687d13a5a400d070643b65fc2ad57a5a42ad3f80226f5c7940bed6a066",
    "text-raw": "7eb79bac0d0a77f1577927d1cdebfd35c0239ff1a2bd003ef03ea49cfa156bc9",
    "phone-bpe": "72c2e3203987a9de5c170ef1f4927866e6b65bc461bb2c1135e619a4460cf8c3",
    "phone-raw": "e3c4f11dc991250ed062f36fc73d54e3e908664956a74d8169ef78f13a0b26f8",
    "phone-repeat": "53d08fba8868c052b7b2004a2a9525d3e1e705f12a95037348760cf5cae66aff",
}


def odd(utterances):
    """Gaps at the end, silences in a row, unknown symbols, spaces in a row, nothing at all."""
    rng = np.random.default_rng(5)
    for i, u in enumerate(utterances[:60]):
        gap = int(rng.choice([0, 100, 400, 401, 5000]))
        phones, ends, text, num_samples = list(u.phones), u.ends, u.transcript, u.num_samples + gap
        if i % 7 == 0:
            phones[1:3] = ["SIL", "SIL"]
        if i % 11 == 0:
            phones = ["SIL"] * len(phones)
        if i % 13 == 0:
            phones[3] = "QQ"
        text = f"  {text}  x " if i % 5 == 0 else text
        text = f"caf\u00e9 {text}" if i % 17 == 0 else text
        text = "" if i % 19 == 0 else text
        num_samples = u.num_samples - 300 if i % 23 == 0 else num_samples
        phones, ends = ((), ()) if i % 29 == 0 else (phones, ends)
        yield dataclasses.replace(
            u,
            id=f"x-{i:03d}",
            phones=tuple(phones),
            ends=tuple(ends),
            transcript=text,
            num_samples=num_samples,
        )
    first = utterances[0]
    short = dataclasses.replace(first, id="y-short", phones=("T",), ends=(300,), num_samples=300)
    yield short
    yield dataclasses.replace(first, id="y-symb", transcript='[9]\u2581 "x"')
    yield dataclasses.replace(first, id="y-symb2", transcript='[9] "x" ?!.:;<>/ A  B   ')


@pytest.mark.parametrize("name", STREAMS)
def test_ids_are_those_of_the_first_implementation(speech, tmp_path, name):
    stream = STREAMS[name]
    if hasattr(stream, "fit"):
        stream.fit(tables(speech.utterances), None, tmp_path, {})
    utterances = [*speech.utterances, *odd(speech.utterances)]
    digest = hashlib.sha256()
    found = tokenize(stream.load(tmp_path, {}), utterances, None)
    for utterance, ids in zip(utterances, found, strict=True):
        refused = isinstance(ids, Quarantined)
        content = json.dumps(dataclasses.asdict(ids)).encode() if refused else ids.tobytes()
        digest.update(f"{utterance.id} ".encode() + content)
    assert digest.hexdigest() == GOLDEN[name]
