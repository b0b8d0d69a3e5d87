"""The journal's listener: it hears what is written, as it is written, and changes nothing."""

import json

from ray_slm.training.loop import fit
from tests.training.conftest import make_run


def train(folder, documents, **options):
    run = make_run(total_tokens=600, checkpoints=(0, 600))
    train, dev = documents("train", 40), documents("dev", 6)
    fit(run, train, dev, folder, scratch=folder / "scratch", **options)
    return (folder / "losses.jsonl").read_bytes()


def test_a_listener_hears_every_line_of_the_journal(documents, tmp_path):
    heard = []
    with_listener = train(tmp_path / "one", documents, listener=heard.append)
    (path,) = (tmp_path / "one" / "scratch").glob("journal-*.jsonl")
    assert heard == [json.loads(line) for line in path.read_text().splitlines()]
    assert any("loss" in line for line in heard)
    assert any("nats_per_token" in line for line in heard)
    assert train(tmp_path / "two", documents) == with_listener
