"""Prices of a study: figures by hand, refusals in the words of a run, a schedule that could be."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ray_slm.cli import app
from ray_slm.corpora.alignments.forced import ForcedAlignment
from ray_slm.costs import gantt
from ray_slm.costs.catalog import CPU, PRICES, RATES, read_catalog
from ray_slm.costs.clusters import read_cluster
from ray_slm.costs.estimate import estimate
from ray_slm.costs.work import job, train_seconds
from ray_slm.errors import ResourceError
from ray_slm.recipes import Train
from ray_slm.scheduling.capacity import Nodes, impossible
from ray_slm.scheduling.plan import plan
from ray_slm.studies import paper
from ray_slm.studies.laptop import STUDY
from ray_slm.training.scale import TINYLLAMA, Batching

CLUSTER = Path(__file__).parent / "cluster.yaml"
CATALOG = read_catalog()
BIG = replace(
    STUDY,
    corpus=replace(STUDY.corpus, train_hours=1000.0, num_shards=256),
    scale=TINYLLAMA,
    batching=Batching(),
    checkpoint_hours=(0.0, 100.0, 500.0, 1000.0),
    train_workers=8,
    train_cpus=4.0,
    train_gpus=1.0,
    encode_gpus=0.5,
    evaluate_gpus=0.25,
)
STAGES = plan(BIG)
PRICED = estimate(BIG, STAGES, read_cluster(CLUSTER, CATALOG), CATALOG)


def test_a_training_run_takes_its_flops_over_the_speed_and_each_step_its_update():
    stage = next(s for s in STAGES if s.name == "train/phone-repeat/seed-0")
    assert isinstance(stage.recipe, Train)
    device = CATALOG.accelerators["A100-80G"]._replace(
        peak=100e12, train_share=0.5, step=0.1, memory=float("inf"), link=float("inf")
    )
    tokens_a_step = 128 * 250.0
    steps = 1000 * 3600 * 50 / tokens_a_step
    assert steps == int(steps)
    # 6 x matrices of 22 layers and the head, and causal attention (science of the FLOP count)
    flops = 6 * (968_884_224 + 64 * 2048) + 6 * 22 * 2048 * 251
    expected = steps * tokens_a_step * flops / (8 * 50e12) + 0.1 * steps
    assert train_seconds(stage.recipe, 64, 250.0, 8, device) == pytest.approx(expected)


def test_a_run_ends_with_the_step_that_reaches_its_budget():
    stage = next(s for s in STAGES if s.name == "train/text-bpe/seed-0")
    assert isinstance(stage.recipe, Train)
    device = CATALOG.accelerators["H100"]
    whole = replace(stage.recipe, total_tokens=128 * 32 * 10, checkpoints=(0,))
    one_more = replace(whole, total_tokens=whole.total_tokens + 1)
    times = [train_seconds(recipe, 576, 32.0, 1, device) for recipe in (whole, one_more)]
    assert times[1] == pytest.approx(times[0] * 11 / 10)


def test_sums_over_gpus_cost_more_when_links_are_slow_and_nothing_alone():
    stage = next(s for s in STAGES if s.name == "train/text-bpe/seed-0")
    assert isinstance(stage.recipe, Train)
    fast = CATALOG.accelerators["A100-80G"]
    slow = fast._replace(link=fast.link / 10)
    times = {
        (workers, device): train_seconds(stage.recipe, 576, 30.0, workers, device)
        for workers in (1, 8)
        for device in (fast, slow)
    }
    assert times[1, fast] == times[1, slow]
    assert times[8, fast] < times[8, slow]


def test_the_sum_of_the_modalities_is_what_the_nodes_cost():
    assert sum(row.on_demand for row in PRICED.rows) == pytest.approx(PRICED.on_demand)
    assert PRICED.spot < PRICED.on_demand
    # as the file asks: the head on demand, workers as spot
    assert PRICED.as_asked == pytest.approx(PRICED.spot)
    assert PRICED.gpu_hours == pytest.approx(sum(row.gpu_hours for row in PRICED.rows))
    assert PRICED.gpu_hours < PRICED.paid_gpu_hours
    names = [row.modality for row in PRICED.rows]
    assert names == [*(m.name for m in BIG.modalities), "all modalities"]


def test_gpu_hours_are_the_trainings_flops_over_the_speed_at_least():
    device = CATALOG.accelerators["A100-80G"]
    flops = sum(stage.flops for stage in STAGES)
    least = flops / (device.peak * device.train_share) / 3600
    assert least < PRICED.gpu_hours < 5 * least


def test_the_schedule_could_be_run():
    """Nothing starts before its inputs, and no group holds more than its nodes do."""
    spans = PRICED.timeline.spans
    begins, ends = {}, {}
    for span in spans:
        address = span.job.stage.address
        begins[address] = min(begins.get(address, span.start), span.start)
        ends[address] = max(ends.get(address, 0.0), span.end)
    assert set(ends) == {stage.address for stage in STAGES}
    for stage in STAGES:
        for artifact in stage.inputs.values():
            ready = begins if artifact.part else ends  # a checkpoint appears in mid-run
            assert begins[stage.address] >= ready[artifact.stage.address]
    groups = {g.name: g for g in read_cluster(CLUSTER, CATALOG).groups}
    for moment in {span.start for span in spans}:
        for name, group in groups.items():
            here = [s for s in spans if s.group == name and s.start <= moment < s.end]
            gpus = sum(s.job.gpus * s.job.workers for s in here)
            cpus = sum(s.job.cpus * s.job.workers for s in here)
            assert gpus <= group.high * group.gpus + 1e-6
            assert cpus <= group.high * group.cpus + 1e-6


def test_evaluations_start_while_their_run_still_trains():
    spans = PRICED.timeline.spans
    (train,) = [s for s in spans if s.job.stage.name == "train/phone-repeat/seed-0"]
    first = min(
        s.start for s in spans if s.job.stage.name.startswith("evaluate/phone-repeat/seed-0/")
    )
    assert train.start <= first < train.end


def test_nodes_that_only_work_in_the_middle_are_paid_for_the_middle():
    cluster = read_cluster(CLUSTER, CATALOG)
    for rental in PRICED.timeline.rentals:
        assert rental.start < rental.end
        assert rental.end <= PRICED.timeline.end + cluster.idle_seconds + 1e-6
    tokenizing = [r for r in PRICED.timeline.rentals if r.group.name == "tokenize"]
    assert min(r.end for r in tokenizing) < PRICED.timeline.end


def test_a_smaller_cluster_takes_longer_and_does_the_same_work():
    cluster = read_cluster(CLUSTER, CATALOG)
    groups = tuple(g._replace(high=1) if g.name == "train" else g for g in cluster.groups)
    small = estimate(BIG, STAGES, cluster._replace(groups=groups), CATALOG)
    assert small.wall_hours > PRICED.wall_hours
    trainings = [sum(row.flops for row in x.rows) for x in (small, PRICED)]
    assert trainings[0] == trainings[1]


def test_spot_nodes_lose_time_to_interruptions():
    cluster = read_cluster(CLUSTER, CATALOG)
    steady = tuple(g._replace(is_spot=False) for g in cluster.groups)
    calm = estimate(BIG, STAGES, cluster._replace(groups=steady), CATALOG)
    goodput = CATALOG.cluster["spot_goodput"]
    assert calm.gpu_hours == pytest.approx(PRICED.gpu_hours * goodput, rel=1e-4)
    assert calm.as_asked == pytest.approx(calm.on_demand)


def test_impossible_demands_are_refused_in_the_words_of_a_run():
    greedy = replace(BIG, train_workers=64)
    stages = plan(greedy)
    cluster = read_cluster(CLUSTER, CATALOG)
    nodes = [Nodes(g.name, g.cpus, g.gpus, g.high) for g in cluster.groups]
    train = next(stage for stage in stages if stage.tokens)
    words = impossible(train, nodes)
    assert words is not None
    with pytest.raises(ResourceError) as refused:
        estimate(greedy, stages, cluster, CATALOG)
    assert str(refused.value).startswith(words)
    assert "train_workers" in words
    assert "64 workers" in words


def test_nothing_is_impossible_where_workers_fit_over_several_nodes():
    train = next(stage for stage in STAGES if stage.tokens)
    one = Nodes("node", 16.0, 4.0, 1)
    assert impossible(train, [one]) is not None
    assert impossible(train, [one._replace(number=2)]) is None


def test_the_command_prints_a_table_json_and_a_picture(tmp_path):
    runner = CliRunner()
    picture = tmp_path / "plan.svg"
    words = ["plan", "laptop", "--cluster", str(CLUSTER), "--gantt", str(picture)]
    printed = runner.invoke(app, words)
    assert printed.exit_code == 0, printed.output
    for part in (
        "phone-repeat",
        "on demand",
        "GPUs at work",
        "prices of",
        "####",
        CATALOG.spot_source,
    ):
        assert part in printed.output
    rows = json.loads(runner.invoke(app, [*words, "--json"]).output)
    assert rows["on_demand"] > 0
    drawn = picture.read_text()
    assert drawn.startswith("<svg")
    assert drawn.count("<rect") > 10


def test_short_stages_are_seen_in_the_drawing_and_long_ones_to_scale():
    lines = gantt.text(PRICED.timeline, 120).splitlines()[:-1]
    cells = {line.split("|")[0].strip(): line.split("|")[1] for line in lines}
    assert all("#" in row for row in cells.values())
    longest = max(PRICED.timeline.spans, key=lambda s: s.end - s.start)
    share = (longest.end - longest.start) / PRICED.timeline.end
    row = cells[longest.job.stage.name]
    assert row.count("#") == pytest.approx(share * len(row), abs=2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "no YAML"),
        ("a: 1", "no available_node_types"),
        ("available_node_types: {w: {node_config: {InstanceType: z9.huge}}}", "z9.huge"),
        ("available_node_types: {w: {node_config: {}}}", "neither"),
        ("available_node_types: {w: {resources: {CPU: 4, GPU: 1}}}", "accelerator_type"),
        ("head_node_type: x\navailable_node_types: {w: {resources: {CPU: 4}}}", "'x'"),
    ],
)
def test_a_launcher_file_that_cannot_be_priced_says_why(text, message, tmp_path):
    path = tmp_path / "cluster.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_cluster(path, CATALOG)


def test_ones_own_machines_cost_nothing_and_are_fast_as_their_label_says(tmp_path):
    path = tmp_path / "cluster.yaml"
    path.write_text(
        "available_node_types:\n  head: {resources: {CPU: 1}}\n"
        '  box: {resources: {CPU: 64, GPU: 8, "accelerator_type:A800": 1}, max_workers: 2}\n'
    )
    cluster = read_cluster(path, CATALOG)
    assert [g.accelerator for g in cluster.groups] == ["A800"]
    priced = estimate(BIG, STAGES, cluster, CATALOG)
    assert priced.on_demand == 0
    assert priced.gpu_hours > 0
    assert sum(row.gpu_hours for row in priced.rows) == pytest.approx(priced.gpu_hours)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("gpus = 8", "gpus = -8", "-8"),
        ("gpus = 8", "gups = 8", "gups"),
        ('"A100-40G"', '"Z100"', "Z100"),
        ("[storage]", "[storage", "prices.toml"),
        ('dated = "2026-11-21"', "", "dated"),
        ("spot_source", "source", "spot_source"),
    ],
)
def test_a_damaged_price_file_says_what_is_wrong(old, new, message, tmp_path):
    path = tmp_path / "prices.toml"
    path.write_text(PRICES.read_text().replace(old, new, 1))
    with pytest.raises(ValueError, match=message):
        read_catalog(path)


def test_every_speed_has_a_source_and_shares_are_shares():
    assert read_catalog(PRICES, RATES) == CATALOG
    for name, device in CATALOG.accelerators.items():
        assert device.source, name
        assert 0 < device.train_share <= 1
        assert 0 < device.score_share <= 1


def test_every_stage_of_every_study_has_a_time_and_a_size():
    for stage in STAGES:
        work = job(stage, BIG, CATALOG)
        assert work.tasks >= 1
        assert work.seconds_on(CPU if not work.gpus else "A100-80G") > 0
        assert work.stored_bytes > 0


def test_aligning_a_corpus_here_costs_more_than_reading_alignments():
    own = replace(paper.STUDY.corpus, alignment=ForcedAlignment())
    seconds = [
        job(plan(study)[0], study, CATALOG).seconds_on(CPU)
        for study in (paper.STUDY, replace(paper.STUDY, corpus=own))
    ]
    assert seconds[1] > 5 * seconds[0]
