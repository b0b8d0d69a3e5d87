import dataclasses
import hashlib
import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from ray_slm import tokens
from ray_slm.corpora.utterance import Quarantined, Utterance, shard_of, write_utterances
from ray_slm.tokens import TokenRow, TokenStore

NUM_SHARDS = 3
VOCAB_SIZE = 300


class Echo:
    """A tokenizer whose ids follow from the id of the utterance; ids ending in 7 are refused."""

    def __init__(self, vocab_size=VOCAB_SIZE):
        self.vocab_size = vocab_size

    def tokenize(self, utterances, waveform):
        return [self._one(utterance) for utterance in utterances]

    def _one(self, utterance):
        if utterance.id.endswith("7"):
            return Quarantined(id=utterance.id, stage="tokenize", reason="SEVEN", detail="no")
        return ids_of(utterance.id, self.vocab_size)


def ids_of(utterance_id, vocab_size=VOCAB_SIZE):
    rng = np.random.default_rng(int(hashlib.sha256(utterance_id.encode()).hexdigest()[:8], 16))
    return rng.integers(0, vocab_size, rng.integers(1, 400)).astype(np.uint16)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A corpus folder of 200 utterances, a tenth of them held out."""
    folder = tmp_path_factory.mktemp("corpus")
    utterances = [utterance(f"a-{i:03d}", "dev" if i % 10 == 0 else "train") for i in range(200)]
    for shard in range(NUM_SHARDS):
        write_utterances(folder, shard, [u for u in utterances if shard_of(u.id, 3) == shard])
    return folder


def utterance(utterance_id, split):
    return Utterance(
        id=utterance_id,
        split=split,
        speaker="nobody",
        book="none",
        transcript="",
        audio="none.wav",
        start=0,
        num_samples=16_000 + int(utterance_id[2:]),
        phones=(),
        ends=(),
        aligned_by="",
    )


def tokenize(corpus, out, order=range(NUM_SHARDS), vocab_size=VOCAB_SIZE):
    counts = [tokens.tokenize_shard(corpus, s, Echo(vocab_size), None, out) for s in order]
    return counts, tokens.finish(out, vocab_size)


@pytest.fixture
def store(corpus, tmp_path):
    tokenize(corpus, tmp_path)
    return tmp_path


def expected_ids(split):
    held_out = [f"a-{i:03d}" for i in range(0, 200, 10)]
    every = held_out if split == "dev" else {f"a-{i:03d}" for i in range(200)} - set(held_out)
    return tuple(sorted(one for one in every if not one.endswith("7")))


@pytest.mark.parametrize("split", ["train", "dev"])
def test_tokens_come_back_in_the_order_of_their_ids(store, split):
    found = TokenStore.open(store, split)
    assert found.ids == expected_ids(split)
    assert len(found) == len(found.ids)
    for i, utterance_id in enumerate(found.ids):
        np.testing.assert_array_equal(found.tokens(i), ids_of(utterance_id))
        assert found.tokens(i).dtype == np.uint16
        assert found.num_samples[i] == 16_000 + int(utterance_id[2:])
    assert found.lengths.tolist() == [len(ids_of(one)) for one in found.ids]
    assert found.num_tokens == found.lengths.sum()
    assert found.seconds == pytest.approx(sum(16_000 + int(one[2:]) for one in found.ids) / 16_000)
    assert found.vocab_size == VOCAB_SIZE


def test_ids_in_are_ids_out_and_ids_quarantined(corpus, tmp_path):
    counts, summary = tokenize(corpus, tmp_path)
    assert sum(one.num_in for one in counts) == 200
    assert all(one.num_in == one.num_out + one.num_quarantined for one in counts)
    lines = (tmp_path / "quarantine.jsonl").read_text().splitlines()
    refused = [Quarantined(**json.loads(line)) for line in lines]
    assert {one.id for one in refused} == {f"a-{i:03d}" for i in range(7, 200, 10)}
    kept = expected_ids("train") + expected_ids("dev")
    assert len(kept) + len(refused) == 200
    assert summary["quarantined"] == {"SEVEN": 20}
    train = summary["splits"]["train"]
    assert train["num_utterances"] == len(expected_ids("train"))
    digest = hashlib.sha256("\n".join(expected_ids("train")).encode()).hexdigest()
    assert train["ids_sha256"] == digest
    assert json.loads((tmp_path / "tokens.json").read_text()) == summary


def test_order_and_repetition_of_shards_change_no_byte(corpus, tmp_path):
    tokenize(corpus, tmp_path / "a")
    tokenize(corpus, tmp_path / "b", order=[2, 0, 1, 0, 2])
    files = {
        name: {p.relative_to(tmp_path / name): p.read_bytes() for p in files_of(tmp_path / name)}
        for name in "ab"
    }
    assert files["a"] == files["b"]
    assert len(files["a"]) == 3 * (2 + 2) + 3 + 2


def files_of(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_shard_is_tokenized_once_all_of_it_is_written(corpus, tmp_path):
    assert not tokens.is_tokenized(tmp_path, 0)
    tokens.write_shard(tmp_path, "train", 0, [TokenRow("a", np.array([1], np.uint16), 400)])
    assert not tokens.is_tokenized(tmp_path, 0)
    tokens.tokenize_shard(corpus, 0, Echo(), None, tmp_path)
    assert tokens.is_tokenized(tmp_path, 0)
    assert not tokens.is_tokenized(tmp_path, 1)


def test_a_missing_shard_is_named(corpus, tmp_path):
    for shard in (0, 2):
        tokens.tokenize_shard(corpus, shard, Echo(), None, tmp_path)
    with pytest.raises(ValueError, match="shard 1 is not tokenized"):
        tokens.finish(tmp_path, VOCAB_SIZE)


def test_an_id_in_two_shards_is_refused(corpus, tmp_path):
    row = TokenRow("twice", np.array([1], np.uint16), 400)
    for shard in range(2):
        tokens.tokenize_shard(corpus, shard, Echo(), None, tmp_path)
        tokens.write_shard(tmp_path, "train", shard, [row])
    with pytest.raises(ValueError, match="the id twice stands in two shards"):
        tokens.finish(tmp_path, VOCAB_SIZE)


def cut(path):
    path.write_bytes(path.read_bytes()[:-2])


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (cut, r"shard-00001\.bin has \d+ bytes, its index says \d+; tokenize shard 1 again"),
        (lambda path: path.unlink(), r"shard-00001\.bin is missing; tokenize shard 1 again"),
        (
            lambda path: path.with_suffix(".index.parquet").unlink(),
            r"shard-00001\.index\.parquet is missing; tokenize shard 1 again",
        ),
    ],
)
def test_a_harmed_shard_is_named_when_the_store_is_opened(store, harm, message):
    harm(store / "train" / "shard-00001.bin")
    with pytest.raises(ValueError, match=message):
        TokenStore.open(store, "train")


def test_a_flipped_byte_in_an_index_is_found_when_it_is_read(store):
    path = store / "train" / "shard-00001.index.parquet"
    chunk = pq.read_metadata(path).row_group(0).column(0)
    content = bytearray(path.read_bytes())
    place = (chunk.dictionary_page_offset or chunk.data_page_offset) + 40
    content[place] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(OSError, match=r"(?i)crc|checksum|corrupt"):
        _ = TokenStore.open(store, "train").ids


def test_ids_beyond_the_vocabulary_are_refused(corpus, store):
    with pytest.raises(ValueError, match=r"shard-0000\d\.bin holds id \d+, vocab_size is 100"):
        tokens.finish(store, 100)
    tokens.tokenize_shard(corpus, 1, Echo(500), None, store)
    with pytest.raises(ValueError, match=r"shard-00001\.bin holds id 4\d\d, vocab_size is 300"):
        TokenStore.open(store, "train")


def test_a_vocabulary_that_leaves_no_room_for_the_specials_is_refused(tmp_path):
    with pytest.raises(ValueError, match="vocab_size is 65534: ids of 16 bits allow 65533"):
        tokens.finish(tmp_path, 65_534)


def test_a_store_that_is_unfinished_or_lacks_the_split_is_refused(store, tmp_path):
    with pytest.raises(ValueError, match=r"no split 'test', there are \['dev', 'train'\]"):
        TokenStore.open(store, "test")
    with pytest.raises(ValueError, match="tokenize to the end first"):
        TokenStore.open(tmp_path / "elsewhere", "train")


def test_tokens_cannot_be_written_through_the_view(store):
    found = TokenStore.open(store, "train")
    with pytest.raises(ValueError, match="read-only"):
        found.tokens(0)[0] = 1


def test_opening_reads_no_tokens_and_no_index(store):
    found = TokenStore.open(store, "train")
    for path in (store / "train").iterdir():
        path.rename(path.with_name(f"moved-{path.name}"))
    with pytest.raises(FileNotFoundError):
        _ = found.ids


def test_a_token_at_50_hz_costs_little_more_than_its_two_bytes(tmp_path):
    rng = np.random.default_rng(0)
    rows = [
        TokenRow(f"emma-{i:05d}-{hashlib.sha256(bytes([i % 256])).hexdigest()[:8]}", ids, 320 * 250)
        for i in range(1_000)
        for ids in [rng.integers(0, 500, rng.integers(100, 400)).astype(np.uint16)]
    ]
    tokens.write_shard(tmp_path, "train", 0, rows)
    num_bytes = sum(path.stat().st_size for path in files_of(tmp_path))
    assert num_bytes <= 2.1 * sum(len(row.ids_T) for row in rows)


def test_ids_of_the_specials_are_never_written(corpus, tmp_path):
    class Beyond(Echo):
        def tokenize(self, utterances, waveform):
            return [np.array([self.vocab_size], np.uint16) for _ in utterances]

    with pytest.raises(AssertionError, match="bad ids"):
        tokens.tokenize_shard(corpus, 0, Beyond(), None, tmp_path)
    assert not tokens.is_tokenized(tmp_path, 0)


def test_an_utterance_is_quarantined_under_its_own_id(corpus, tmp_path):
    class Mixed(Echo):
        def _one(self, utterance):
            return super()._one(dataclasses.replace(utterance, id="a-007"))

    with pytest.raises(AssertionError, match="under another id"):
        tokens.tokenize_shard(corpus, 0, Mixed(), None, tmp_path)
