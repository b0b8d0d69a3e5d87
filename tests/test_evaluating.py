"""`ray-slm evaluate` and `compare`: models of a study and models made elsewhere, in one process."""

import json
from dataclasses import replace

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast
from typer.testing import CliRunner

import ray_slm.study
from ray_slm import comparing, evaluating
from ray_slm.cli import app
from ray_slm.corpora.text import TEXT_SYMBOLS
from ray_slm.evaluation.contrasts import Contrast
from ray_slm.modalities import phone_raw, text_raw
from ray_slm.scheduling.evaluation_stages import trained
from ray_slm.scheduling.places import Places
from ray_slm.scheduling.store import Store
from ray_slm.stages import evaluated
from ray_slm.stages.site import made_with
from ray_slm.studies import smoke
from ray_slm.tasks.story_cloze import StoryCloze
from ray_slm.training.checkpoint import publish
from ray_slm.training.model import config_json, initialized
from tests.tasks import published

VOCAB = {"text-raw": len(TEXT_SYMBOLS), "phone-raw": phone_raw.PhoneRaw().load(None, {}).vocab_size}
STUDY = replace(
    smoke.STUDY,
    name="tiny",
    modalities=(text_raw.MODALITY, phone_raw.MODALITY),
    contrasts=(Contrast(factor="A", baseline="text-raw", modality="phone-raw"),),
    tasks=(StoryCloze(),),
    item_voices=("kal16",),
)


@pytest.fixture(scope="module")
def copies(tmp_path_factory):
    """The user's copies of two benchmarks."""
    folder = tmp_path_factory.mktemp("copies")
    published.zerospeech(folder / "zs", audio=False)
    published.story_cloze(folder / "sc")
    return {"zerospeech2021": str(folder / "zs"), "storycloze": str(folder / "sc")}


@pytest.fixture(scope="module")
def known(places, copies, tmp_path_factory):
    locations = {**{name: str(path) for name, path in places.items()}, **copies}
    return Places(locations, tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def study(known):
    """As a user writes it: the benchmark pinned to the copy."""
    return replace(STUDY, tasks=(evaluating.find_task(STUDY, "storycloze", known),))


@pytest.fixture(scope="module")
def store(study, tmp_path_factory):
    """A root with the checkpoints of training runs: real files, weights drawn at random."""
    store = Store(tmp_path_factory.mktemp("root"))
    write_checkpoints(study, store)
    return store


def write_checkpoints(study, store):
    for number, candidate in enumerate(trained(study)):
        artifact = candidate.checkpoint
        vocab_size = VOCAB[candidate.modality.name]
        model = initialized(study.scale, vocab_size, seed=number)
        folder = store.root / artifact.address
        publish(
            folder,
            folder.with_name(f"{folder.name}.tmp"),
            model.state_dict(),
            config_json(study.scale, vocab_size),
            {"tokens": candidate.tokens},
        )
        store.commit(artifact.stage, part=artifact.part, summary={}, made=made_with())


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """A GPT-2 of someone else's with a tokenizer of its own."""
    folder = tmp_path_factory.mktemp("models") / "Their Model"
    words = {w: i for i, w in enumerate([*"<>?", "garden", "brick", "story", "ending", "."])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<", eos_token=">", unk_token="?"
    ).save_pretrained(folder)
    torch.manual_seed(0)
    shape = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64, "vocab_size": len(words)}
    GPT2LMHeadModel(GPT2Config(bos_token_id=0, eos_token_id=1, **shape)).save_pretrained(folder)
    return folder


def wanted(checkpoints, tasks=(), modality=None, backend="local"):
    return evaluating.wanted(checkpoints, tasks, modality, "fp32", backend)


def test_models_of_a_study_and_of_others_share_one_table(study, store, known, elsewhere):
    asked = wanted(["text-raw/seed-0", str(elsewhere)], ["storycloze", "zerospeech-swuggy"])
    grid = evaluating.evaluate(study, asked, store, known)
    rows = evaluated.rows(grid, store)
    labels = [f"text-raw/seed-0/{c.tokens:012d}" for c in trained(study)[:3]]
    assert [row["model"] for row in rows[::2]] == [*labels, "their-model"]
    for row in rows:
        assert row["num_pairs"] == {"storycloze": 3, "zerospeech-swuggy": 5}[row["task"]]
        has_audio = row["task"] == "storycloze"
        assert ("per_second" in row["accuracy"]) == has_audio
        assert row["low"] is None or row["low"] <= row["accuracy"]["mean"] <= row["high"]
        assert row["note"]
    swuggy = [row for row in rows if row["task"] == "zerospeech-swuggy"]
    assert all(
        row["official"]["overall"] == pytest.approx(row["accuracy"]["mean"]) for row in swuggy
    )
    text = evaluated.table_text(rows)
    assert "their-model" in text
    assert "official: overall" in text
    done = {stage.address: store.path(stage.address).stat().st_mtime_ns for stage in grid.stages}
    evaluating.evaluate(study, asked, store, known)
    assert done == {a: store.path(a).stat().st_mtime_ns for a in done}, "nothing is done twice"


def test_bf16_is_scored_beside_fp32_and_its_flips_are_counted(study, store, known):
    asked = wanted(["text-raw/seed-0"], ["storycloze"])
    evaluating.evaluate(study, asked, store, known)
    halved = asked._replace(precision="bf16")
    rows = evaluated.rows(evaluating.evaluate(study, halved, store, known), store)
    assert all(0 <= row["flipped_by_bf16"] <= row["num_pairs"] for row in rows)
    assert "unlike fp32" in evaluated.table_text(rows)
    with pytest.raises(ValueError, match="--precision 'fp16'"):
        evaluating.wanted([], [], None, "fp16", "local")


def test_a_submission_holds_every_file_of_the_benchmark(study, store, known, tmp_path):
    label = trained(study)[0].label
    grid = evaluating.evaluate(study, wanted([label], ["zerospeech-swuggy"]), store, known)
    (path,) = evaluated.write_submissions(grid, store, tmp_path, "sum_eos")
    assert path == tmp_path / label.replace("/", "_") / "lexical" / "dev.txt"
    names = {line.split(" ")[0] for line in path.read_text().splitlines()}
    assert names == {row["filename"] for row in published.lexical_rows()}


def test_items_that_a_modality_cannot_read_are_not_scored(study, store, known):
    """Sentences of the gold file have no phones: phone-raw refuses every one of them."""
    both = wanted(["text-raw/seed-0", "phone-raw/seed-0"], ["zerospeech-sblimp"])
    with pytest.raises(ValueError, match="all 16 items are in quarantine"):
        evaluated.rows(evaluating.evaluate(study, both, store, known), store)


def test_what_is_asked_for_must_exist(study, store, known, tmp_path):
    for asked, message in (
        (wanted(["text-raw/seed-7"]), "neither a published checkpoint"),
        (wanted(["text-raw/seed-0"], ["swugy"]), "--task 'swugy'"),
        (wanted(["text-raw/seed-0"], ["blimp"]), "--place blimp=FOLDER"),
    ):
        with pytest.raises(ValueError, match=message):
            evaluating.evaluate(study, asked, store, known)
    with pytest.raises(ValueError, match="--backend 'slurm'"):
        wanted([], backend="slurm")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="safetensors"):
        evaluating.evaluate(study, wanted([str(tmp_path)]), store, known)


def test_a_model_of_units_is_scored_on_a_modalitys_tokens(study, store, known, tmp_path):
    shape = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 512, "vocab_size": 90}
    config = GPT2Config(bos_token_id=88, eos_token_id=88, **shape)
    GPT2LMHeadModel(config).save_pretrained(tmp_path / "units")
    asked = wanted([str(tmp_path / "units")], ["storycloze"], "phone-raw")
    (row,) = evaluated.rows(evaluating.evaluate(study, asked, store, known), store)
    assert row["num_pairs"] == 3
    with pytest.raises(ValueError, match="--modality 'mel'"):
        evaluating.evaluate(study, asked._replace(modality="mel"), store, known)
    with pytest.raises(ValueError, match="name the modality"):
        evaluating.evaluate(study, asked._replace(modality=None), store, known)


@pytest.fixture
def two(study, store, known, tmp_path, monkeypatch):
    """Two studies that judged the same items: other seeds of the same thing."""
    other = replace(study, name="other", seeds=(5,))
    second = Store(tmp_path / "second")
    write_checkpoints(other, second)
    for one, root in ((study, store), (other, second)):
        labels = [c.label for c in trained(one)]
        evaluating.evaluate(one, wanted(labels, ["storycloze"]), root, known)
    by_name = {"tiny": study, "other": other}
    monkeypatch.setattr(ray_slm.study, "load_study", by_name.__getitem__)
    return (study, store), (other, second)


def test_two_studies_are_paired_where_they_share_items(two):
    found = comparing.compare(*two)
    assert {row["modality"] for row in found["accuracies"]} == {"text-raw", "phone-raw"}
    for row in found["accuracies"]:
        assert row["num_shared"] == 3
        assert row["points"] == pytest.approx(row["second"] - row["first"])
    (effect,) = found["effects"]
    assert effect["factor"] == "A"
    by_name = {row["modality"]: row for row in found["accuracies"]}
    assert effect["points"] == pytest.approx(
        by_name["phone-raw"]["points"] - by_name["text-raw"]["points"]
    )
    assert "3 shared pairs" in comparing.text(found, "tiny", "other")


def test_the_verbs_print_tables_and_json(two, known, copies):
    (_, first), (_, second) = two
    run = CliRunner().invoke
    command = ["compare", "tiny", "other", "--root", str(first.root)]
    command += ["--other-root", str(second.root)]
    assert "other minus tiny" in run(app, command).stdout
    assert json.loads(run(app, [*command, "--json"]).stdout)["effects"][0]["factor"] == "A"
    places = [f"--place={name}={path}" for name, path in copies.items()]
    asked = ["evaluate", "text-raw/seed-0", "--study", "tiny", "--backend", "local"]
    asked += ["--root", str(first.root), "--task", "storycloze", *places]
    shown = run(app, asked)
    assert shown.exit_code == 0, shown.output
    assert "half the skill at layer" in shown.stdout
    rows = json.loads(run(app, [*asked, "--json"]).stdout)
    assert {row["task"] for row in rows} == {"storycloze"}
    failed = run(app, ["compare", "tiny", "other", "--root", str(first.root / "empty")])
    assert failed.exit_code != 0
