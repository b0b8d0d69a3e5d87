import hashlib
import itertools
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ray_slm import token_finish, token_index, token_shards
from ray_slm.corpora.utterance import (
    Quarantined,
    Utterance,
    shard_of,
    write_utterances,
)
from ray_slm.modalities.modality import Form, Tokens
from ray_slm.modalities.ragged import Ragged
from ray_slm.token_shards import ShardWriter, is_tokenized
from ray_slm.token_sources import CorpusRows, UnitRows
from ray_slm.tokens import TokenStore

NUM_SHARDS = 3
VOCAB_SIZE = 300


class Echo:
    """A tokenizer whose ids follow from the id of the utterance; ids ending in 7 are refused."""

    def __init__(self, vocab_size=VOCAB_SIZE):
        self.vocab_size = vocab_size

    def tokenize(self, table, waveform):
        found = [self._one(one) for one in table["id"].to_pylist()]
        refused = {i: one for i, one in enumerate(found) if isinstance(one, Quarantined)}
        kept = [one for i, one in enumerate(found) if i not in refused]
        lengths = np.array([0 if i in refused else len(one) for i, one in enumerate(found)])
        return Tokens(np.concatenate([np.zeros(0, np.uint16), *kept]), lengths, refused)

    def _one(self, utterance_id):
        if utterance_id.endswith("7"):
            return Quarantined(id=utterance_id, stage="tokenize", reason="SEVEN", detail="no")
        return ids_of(utterance_id, self.vocab_size)


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


def utterance(utterance_id, split, num_samples=None):
    return Utterance(
        id=utterance_id,
        split=split,
        speaker="nobody",
        book="none",
        transcript="",
        audio="none.wav",
        start=0,
        num_samples=num_samples or 16_000 + int(utterance_id[2:]),
        phones=(),
        ends=(),
        aligned_by="",
    )


def tokenize(corpus, out, order=range(NUM_SHARDS), vocab_size=VOCAB_SIZE):
    counts = [shard_of_corpus(corpus, s, out, Echo(vocab_size)) for s in order]
    return counts, token_finish.finish(out, corpus, vocab_size)


def shard_of_corpus(corpus, shard, out, tokenizer=None):
    source = CorpusRows(corpus, Form.TEXT)
    return token_shards.tokenize_shard(source, shard, tokenizer or Echo(), None, out)


def write_one(folder, shard, utterance_id):
    writer = ShardWriter(folder, "train", shard)
    writer.write(pa.array([utterance_id]), Ragged(np.array([1], np.uint16), np.array([1])), None)
    writer.publish()


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
    assert len(files["a"]) == 3 * (2 + 2) + 2 + 3 + 2


def files_of(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_shard_is_tokenized_once_all_of_it_is_written(corpus, tmp_path):
    assert not is_tokenized(tmp_path, 0)
    write_one(tmp_path, 0, "a")
    assert not is_tokenized(tmp_path, 0)
    shard_of_corpus(corpus, 0, tmp_path)
    assert is_tokenized(tmp_path, 0)
    assert not is_tokenized(tmp_path, 1)


def test_a_missing_shard_is_named(corpus, tmp_path):
    for shard in (0, 2):
        shard_of_corpus(corpus, shard, tmp_path)
    with pytest.raises(ValueError, match="shard 1 is not tokenized"):
        token_finish.finish(tmp_path, corpus, VOCAB_SIZE)


def test_an_id_in_two_shards_is_refused(tmp_path):
    corpus, out = tmp_path / "corpus", tmp_path / "out"
    for shard in range(2):
        write_utterances(corpus, shard, [utterance("a-001", "train")])
        shard_of_corpus(corpus, shard, out)
    with pytest.raises(ValueError, match="the id a-001 stands twice"):
        token_finish.finish(out, corpus, VOCAB_SIZE)


def test_a_shard_of_another_corpus_is_refused(corpus, tmp_path):
    other = tmp_path / "other"
    for shard in range(NUM_SHARDS):
        write_utterances(other, shard, [utterance(f"b-{shard}", "train")])
    tokenize(corpus, tmp_path / "out")
    with pytest.raises(ValueError, match=r"shard-0000\d\.lengths\.parquet is of \d+ utterances"):
        token_finish.finish(tmp_path / "out", other, VOCAB_SIZE)


def cut(path):
    path.write_bytes(path.read_bytes()[:-2])


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (cut, r"shard-00001\.bin has \d+ bytes, its lengths say \d+; tokenize shard 1 again"),
        (lambda path: path.unlink(), r"shard-00001\.bin is missing; tokenize shard 1 again"),
        (
            lambda path: path.with_suffix(".lengths.parquet").unlink(),
            r"shard-00001\.lengths\.parquet is missing; tokenize shard 1 again",
        ),
    ],
)
def test_a_harmed_shard_is_named_when_the_store_is_opened(store, harm, message):
    harm(store / "train" / "shard-00001.bin")
    with pytest.raises(ValueError, match=message):
        TokenStore.open(store, "train")


@pytest.mark.parametrize("name", ["utterances.parquet", "shard-00001.lengths.parquet"])
def test_a_flipped_byte_in_an_index_is_found_when_it_is_read(store, name):
    path = store / "train" / name
    chunk = pq.read_metadata(path).row_group(0).column(0)
    content = bytearray(path.read_bytes())
    place = chunk.data_page_offset + chunk.total_compressed_size - 5  # behind the page's header
    content[place] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(OSError, match=r"(?i)crc|checksum|corrupt"):
        _ = TokenStore.open(store, "train").lengths


def test_an_id_that_its_hash_puts_elsewhere_is_found(store):
    path = store / "train" / "utterances.parquet"
    table = pq.read_table(path)
    strangers = pa.array([f"{one}?" for one in table["id"].to_pylist()])
    pq.write_table(table.set_column(0, "id", strangers), path)
    with pytest.raises(ValueError, match=r"shard 0 has lengths of \d+ utterances"):
        _ = TokenStore.open(store, "train").lengths


def test_ids_beyond_the_vocabulary_are_refused(corpus, store):
    with pytest.raises(ValueError, match=r"shard-0000\d\.bin holds id \d+, vocab_size is 100"):
        token_finish.finish(store, corpus, 100)
    shard_of_corpus(corpus, 1, store, Echo(500))
    with pytest.raises(ValueError, match=r"shard-00001\.bin holds id 4\d\d, vocab_size is 300"):
        TokenStore.open(store, "train")


def test_a_vocabulary_that_leaves_no_room_for_the_specials_is_refused(tmp_path):
    with pytest.raises(ValueError, match="vocab_size is 65534: ids of 16 bits allow 65533"):
        token_finish.finish(tmp_path, tmp_path, 65_534)


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


def libriheavy_id(i):
    chapter = f"{i // 60 % 12:02d}_sea_fairies_{i // 720}_64kb"
    return f"large/{i // 720 * 77 % 900}/sea_fairies_{i // 720:04d}_librivox_mp3/{chapter}_{i % 60}"


class Drawn:
    """A tokenizer of random ids, so many a second; no two utterances have the same number."""

    vocab_size = 2048

    def __init__(self, tokens_per_second):
        self._rate, self._rng = tokens_per_second, np.random.default_rng(0)

    def tokenize(self, table, waveform):
        seconds = table["num_samples"].to_numpy() / 16_000
        lengths = np.maximum(1, self._rng.normal(self._rate, self._rate / 10) * seconds)
        lengths = lengths.astype(np.int64)
        flat = self._rng.integers(0, self.vocab_size, lengths.sum())
        return Tokens(flat.astype(np.uint16), lengths, {})


@pytest.mark.parametrize(("tokens_per_second", "most"), [(4.04, 2.1), (14.5, 2.03), (50, 2.01)])
def test_a_token_costs_little_more_than_its_two_bytes(tmp_path, tokens_per_second, most):
    rng, corpus, out = np.random.default_rng(0), tmp_path / "corpus", tmp_path / "out"
    ids = sorted(libriheavy_id(i) for i in range(8_000))
    seconds = np.clip(rng.normal(14.8, 6.4, len(ids)), 2.0, 35.0)  # as Libriheavy's
    num_samples = 16 * (1000 * seconds).astype(int)
    heard = map(utterance, ids, itertools.repeat("train"), num_samples.tolist())
    of_shard = [[], []]
    for one in heard:
        of_shard[shard_of(one.id, 2)].append(one)
    for shard in range(2):
        write_utterances(corpus, shard, of_shard[shard])
        shard_of_corpus(corpus, shard, out, Drawn(tokens_per_second))
    token_finish.finish(out, corpus, Drawn.vocab_size)
    num_tokens = TokenStore.open(out, "train").num_tokens
    assert sum(path.stat().st_size for path in (out / "train").iterdir()) <= most * num_tokens


def test_ids_of_the_specials_are_never_written(corpus, tmp_path):
    class Beyond(Echo):
        def _one(self, utterance_id):
            return np.array([self.vocab_size], np.uint16)

    with pytest.raises(AssertionError, match="bad ids"):
        shard_of_corpus(corpus, 0, tmp_path, Beyond())
    assert not is_tokenized(tmp_path, 0)
    assert not files_of(tmp_path)


def test_an_utterance_is_quarantined_under_its_own_id(corpus, tmp_path):
    class Mixed(Echo):
        def _one(self, utterance_id):
            return super()._one("a-007")

    with pytest.raises(AssertionError, match="under another id"):
        shard_of_corpus(corpus, 0, tmp_path, Mixed())


def test_who_has_no_tokens_has_a_reason(corpus, tmp_path):
    class Silent(Echo):
        def _one(self, utterance_id):
            return np.zeros(0, np.uint16)

    with pytest.raises(AssertionError, match="no reason"):
        shard_of_corpus(corpus, 0, tmp_path, Silent())


def test_chunks_of_a_shard_change_no_byte(corpus, tmp_path, monkeypatch):
    tokenize(corpus, tmp_path / "whole")
    monkeypatch.setattr("ray_slm.token_sources.CHUNK_ROWS", 7)
    tokenize(corpus, tmp_path / "chunks")
    for path in files_of(tmp_path / "whole"):
        same = tmp_path / "chunks" / path.relative_to(tmp_path / "whole")
        assert path.read_bytes() == same.read_bytes(), path.name


def test_ids_are_put_in_order_whatever_fits_into_memory(corpus, tmp_path, monkeypatch):
    tokenize(corpus, tmp_path / "whole")
    monkeypatch.setattr(token_index, "RUN_ROWS", 13)
    monkeypatch.setattr(token_index, "ROWS_AT_ONCE", 5)
    monkeypatch.setattr(token_finish, "CHUNK_ROWS", 3)
    _, summary = tokenize(corpus, tmp_path / "runs")
    assert summary == json.loads((tmp_path / "whole" / "tokens.json").read_text())
    for split in ("train", "dev"):
        whole, runs = (TokenStore.open(tmp_path / name, split) for name in ("whole", "runs"))
        assert runs.ids == whole.ids
        assert runs.num_samples.tolist() == whole.num_samples.tolist()
    assert not [path for path in files_of(tmp_path / "runs") if path.suffix == ".arrow"]


def test_no_more_than_two_runs_are_ever_held_though_a_run_is_of_few_of_the_ids(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(token_index, "RUN_ROWS", 100)
    monkeypatch.setattr(token_index, "SAMPLES_PER_RUN", 10)
    sorting = token_index.Sorting(tmp_path)
    ids = [f"a-{i:04d}" for i in range(3_000)]
    for shard in (ids[::2], ids[1::2]):  # sorted inside, as a corpus is: a run is a tenth of it
        for first in range(0, len(shard), 50):
            some = shard[first : first + 50]
            sorting.add(pa.table([some, range(len(some))], schema=token_index.SCHEMA))
    ordered = list(sorting.in_order())
    assert pa.concat_tables(ordered)["id"].to_pylist() == ids
    assert max(map(len, ordered)) <= 200


def test_ids_that_are_not_sorted_are_refused(tmp_path):
    writer = ShardWriter(tmp_path, "train", 0)
    with pytest.raises(AssertionError, match="not sorted after b"):
        writer.write(pa.array(["b", "a"]), Ragged(np.zeros(2, np.uint16), np.array([1, 1])), None)


class Halves(Echo):
    """Reads the units of another store: every second one, which stands for two frames."""

    def tokenize(self, table, waveform):
        flat, lengths = [], []
        for units in table["units"].to_pylist():
            flat += units[::2]
            lengths.append(len(units[::2]))
        frames = np.full(len(flat), 2, np.uint16)
        return Tokens(np.array(flat, np.uint16), np.array(lengths), {}, frames)


def test_a_derived_store_holds_the_same_ids_and_what_was_refused_before(
    corpus, store, tmp_path_factory
):
    out = tmp_path_factory.mktemp("derived")
    for shard in range(NUM_SHARDS):
        token_shards.tokenize_shard(UnitRows(store, corpus), shard, Halves(), None, out)
    summary = token_finish.finish(out, corpus, VOCAB_SIZE)
    assert summary["quarantined"] == {"SEVEN": 20}
    for split in ("train", "dev"):
        units, halves = TokenStore.open(store, split), TokenStore.open(out, split)
        assert halves.ids == units.ids
        assert halves.num_samples.tolist() == units.num_samples.tolist()
        for i in range(len(units)):
            np.testing.assert_array_equal(halves.tokens(i), units.tokens(i)[::2])
            np.testing.assert_array_equal(halves.frames(i), np.full(len(halves.tokens(i)), 2))


def test_a_store_without_run_lengths_says_so(store):
    with pytest.raises(ValueError, match="keeps no run lengths"):
        TokenStore.open(store, "train").frames(0)


def test_what_killed_workers_left_behind_is_removed(corpus, tmp_path):
    tokenize(corpus, tmp_path)
    before = sorted(files_of(tmp_path))
    (tmp_path / "train" / ".shard-00001.bin.0123").write_bytes(b"half")
    token_finish.finish(tmp_path, corpus, VOCAB_SIZE)
    assert sorted(files_of(tmp_path)) == before
