"""What a report reads of per-item scores is what `decide` makes of them."""

import dataclasses

import pandas as pd
import pytest

from ray_slm import parquet
from ray_slm.evaluation.conventions import DEFAULT_CONVENTION
from ray_slm.evaluation.pairs import decide
from ray_slm.scheduling.store import Store
from ray_slm.stages import results
from ray_slm.stages.evaluate import SCORES
from ray_slm.stages.report import collect, stage_of
from tests.report.records import pairs_of, study_of, write_records


@pytest.fixture(scope="module")
def study():
    whole = study_of(num_seeds=2, num_checkpoints=4)
    return dataclasses.replace(whole, modalities=whole.modalities[:2], contrasts=())


@pytest.fixture(scope="module")
def store(study, tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("root"))
    write_records(study, store)
    return store


def expected(study, store):
    """Everything, the slow way."""
    for (_, modality, seed, tokens, task), stage in results.done(
        stage_of(study), "evaluate", store
    ):
        scores = parquet.read_frame(store.path(stage.address) / SCORES)
        frame = decide(pairs_of(task), scores)
        names = {"modality": modality, "seed": int(seed.removeprefix("seed-")), "task": task}
        yield frame.assign(tokens=int(tokens), **names)


def plain(frame):
    """Without categories, whose order is not that of their names."""
    return frame.astype({name: str for name in frame.select_dtypes("category")})


def test_what_is_read_thinly_is_decided_the_same(study, store):
    found = results.pair_scores(stage_of(study), store)
    whole = plain(pd.concat(expected(study, store), ignore_index=True))
    last = whole.groupby(["modality", "seed"])["tokens"].transform("max")
    final = (whole["layer"] == whole["layer"].max()) & (whole["convention"] == DEFAULT_CONVENTION)
    keys = ["modality", "seed", "tokens", "task", "pair", "layer", "convention"]
    wanted = whole[(whole["tokens"] == last) | final].sort_values(keys, ignore_index=True)
    made = plain(found).sort_values(keys, ignore_index=True)[wanted.columns]
    pd.testing.assert_frame_equal(made, wanted, check_dtype=False)


def test_a_quarantined_item_takes_its_pair_from_every_modality(study, store):
    found = results.pair_scores(stage_of(study), store)
    lost = store.path(
        next(
            s for p, s in results.done(stage_of(study), "tokens", store) if p[2] == "swuggy"
        ).address
    )
    (lost / "quarantine.jsonl").write_text('{"id": "swuggy-0007.negative.slt"}\n')
    try:
        fewer = results.pair_scores(stage_of(study), store)
    finally:
        (lost / "quarantine.jsonl").unlink()
    gone = set(found["pair"].astype(str)) - set(fewer["pair"].astype(str))
    assert gone == {"swuggy-0007"}
    assert set(fewer["modality"]) == set(found["modality"])


def test_tables_of_growth_are_made_of_records(study, store):
    found = collect(stage_of(study), store)
    lines = 2 * 3
    assert len(found.seed_slopes) == 2 * 2 * lines, "two runs, two forms"
    assert len(found.half_skill) == lines
    assert (
        found.self_tests[["oracle", "negated", "constant"]].to_numpy().tolist()
        == [[100.0, 0.0, 50.0]] * 3
    )
    assert found.self_tests["unchanged_by_shuffling"].all()
    assert set(found.loss_fits["modality"]) == set(found.budgets["modality"])
    assert found.budgets.notna().all(axis=None)
    hours = found.scaling_points.merge(found.budgets, on="modality")
    ends = (hours["tokens"] * hours["hours_per_token"]).groupby(hours["modality"]).max()
    assert ends.tolist() == pytest.approx([8.0, 8.0], rel=1e-4)
