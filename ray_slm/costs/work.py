"""How long each stage takes on a device of each kind, and how many bytes it leaves.

A stage is one gang of workers (a training run) or many equal tasks (shards, encoders): the
schedule needs no more.  Times follow from counts of FLOPs, tokens, audio and bytes.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

from ray_slm import recipes
from ray_slm.costs import sizes
from ray_slm.costs.catalog import CPU, Accelerator, Catalog
from ray_slm.modalities.modality import DerivedStream, Form, Modality
from ray_slm.scheduling.plan import mean_seconds
from ray_slm.scheduling.stage import Stage
from ray_slm.study import Study
from ray_slm.tasks.continuation import Continuation
from ray_slm.training.scale import flops_per_token, num_parameters, table_size

MOST_TASKS = 64  # a schedule in finer grains than this shows nothing more
MP3_BYTES_PER_SECOND = 4_000
BYTES_PER_TOKEN = 2.1  # uint16 and an index
BYTES_PER_PARAMETER = 4  # published weights are fp32
RESUME_BYTES_PER_PARAMETER = 12 * 2  # weights and two moments, the last two kept
UPDATE_BYTES_PER_PARAMETER = 28  # what AdamW reads and writes for each fp32 parameter
LAYERS_COST = 1.5  # scores at every layer against the final one's
LIGHT_CPUS = 0.25
UNITS_PER_SECOND = 50.0  # of units that a derived modality reads
TYPICAL_ROWS = table_size(2048)


class Job(NamedTuple):
    """``tasks`` equal pieces of a stage, each of ``workers`` that start together.

    ``seconds`` of one task, by accelerator; a task without GPUs takes the time of ``CPU``.
    """

    stage: Stage
    tasks: int
    workers: int
    cpus: float  # of each worker
    gpus: float
    seconds: Mapping[str, float]
    stored_bytes: float

    def seconds_on(self, accelerator: str) -> float:
        """Of one task on a node with these GPUs."""
        return self.seconds[accelerator if self.gpus else CPU]


def job(stage: Stage, study: Study, catalog: Catalog) -> Job:
    """The work of a stage."""
    match stage.recipe:
        case recipes.PrepareCorpus() | recipes.PrepareItems():
            return _prepare(stage, study, catalog)
        case recipes.FitVocabulary() | recipes.Tokenize():
            return _tokenize(stage, study, catalog)
        case recipes.Train():
            return _train(stage, study, catalog)
        case recipes.Evaluate():
            return _evaluate(stage, study, catalog)
        case _:  # prompts, a vocoder, the report: minutes of one processor
            return Job(stage, 1, 1, 1.0, 0.0, {CPU: catalog.stage["small_seconds"]}, 5e6)


def train_seconds(
    recipe: recipes.Train, rows: int, mean_tokens: float, workers: int, device: Accelerator
) -> float:
    """Of a run: its passes, and for each step its own time, the update and the gradients' sum.

    A run ends with the step that reaches its budget.  ``rows`` are of the embedding table,
    ``mean_tokens`` of an utterance, its end included.
    """
    tokens_a_step = recipe.batching.utterances_per_step * mean_tokens
    steps = math.ceil((recipe.total_tokens - (recipe.forked_at or 0)) / tokens_a_step)
    flops = steps * tokens_a_step * flops_per_token(recipe.scale, mean_tokens, rows)
    parameters = num_parameters(recipe.scale, rows)
    update = parameters * UPDATE_BYTES_PER_PARAMETER / device.memory
    summed = 2 * (workers - 1) / workers * parameters * BYTES_PER_PARAMETER / device.link
    passes = flops / (device.peak * device.train_share * workers)
    return passes + steps * (device.step + update + summed)


def _train(stage: Stage, study: Study, catalog: Catalog) -> Job:
    recipe, demand = stage.recipe, stage.demand
    assert isinstance(recipe, recipes.Train)
    modality = modality_of(stage, study)
    rows, mean_tokens = sizes.rows(modality.stream), sizes.mean_tokens(study, modality)
    start = catalog.stage["start_seconds"]
    seconds = {
        name: start + train_seconds(recipe, rows, mean_tokens, demand.workers, device)
        for name, device in catalog.accelerators.items()
    }
    published = num_parameters(recipe.scale, rows) * BYTES_PER_PARAMETER
    stored = float(published * len(recipe.checkpoints))
    return Job(stage, 1, demand.workers, demand.cpus, demand.gpus, seconds, stored)


def modality_of(stage: Stage, study: Study) -> Modality:
    """Whose stage it is: the second part of the name of a stage that belongs to one."""
    return next(m for m in study.modalities if m.name == stage.name.split("/")[1])


def resume_bytes(stage: Stage) -> float:
    """What a training run needs besides while it runs."""
    if not isinstance(stage.recipe, recipes.Train):
        return 0.0
    return num_parameters(stage.recipe.scale, TYPICAL_ROWS) * RESUME_BYTES_PER_PARAMETER


def _prepare(stage: Stage, study: Study, catalog: Catalog) -> Job:
    core = catalog.core
    if isinstance(stage.recipe, recipes.PrepareItems):
        hours = sizes.item_hours(stage.recipe.task) * len(stage.recipe.voices)
        seconds = hours * 3600 / core["spoken_hours_per_hour"]
        tasks, stored = stage.recipe.num_shards, hours * sizes.FLAC_BYTES_PER_HOUR
    else:
        corpus = study.corpus
        hours = sizes.audio_hours(corpus)
        utterances = hours * 3600 / mean_seconds(study)
        seconds, stored = utterances / core["utterances_per_second"], utterances * 200
        if sizes.is_synthesized(corpus):
            seconds += hours * 3600 / core["spoken_hours_per_hour"]
            stored += hours * sizes.FLAC_BYTES_PER_HOUR
        else:
            seconds += hours * 3600 / core["decoded_hours_per_hour"]
        if sizes.is_aligned_here(corpus):
            seconds += hours * 3600 / core["aligned_hours_per_hour"]
        tasks = corpus.num_shards
    tasks = min(tasks, MOST_TASKS)
    return Job(stage, tasks, 1, 1.0, 0.0, {CPU: seconds / tasks}, stored)


def _tokenize(stage: Stage, study: Study, catalog: Catalog) -> Job:
    recipe = stage.recipe
    assert isinstance(recipe, recipes.FitVocabulary | recipes.Tokenize)
    rates = {m.name: m.nominal_tokens_per_second for m in study.modalities}
    source = stage.inputs["corpus"].stage
    hours = sizes.source_hours(source)
    fits = isinstance(recipe, recipes.FitVocabulary)
    tokens = hours * 3600 * rates.get(stage.name.split("/")[1], UNITS_PER_SECOND)
    stored = 1e7 if fits else tokens * BYTES_PER_TOKEN
    if recipe.stream.form is not Form.AUDIO or isinstance(recipe.stream, DerivedStream):
        seconds = {CPU: tokens / catalog.core["tokens_per_second"]}
        tasks = 1 if fits else _num_tasks(source)
        cpus = LIGHT_CPUS if fits else 1.0
        return Job(stage, tasks, 1, cpus, 0.0, _each(seconds, tasks), stored)
    if fits:
        hours = min(hours, sizes.fit_hours(recipe.stream))
    flops = hours * 3600 * sizes.encoder_flops(recipe.stream, catalog)
    seconds = {
        name: flops / (device.peak * device.encode_share)
        for name, device in catalog.accelerators.items()
    }
    tasks = 1 if fits else _num_tasks(source)
    return Job(stage, tasks, 1, 1.0, stage.demand.gpus, _each(seconds, tasks), stored)


def _num_tasks(source: Stage) -> int:
    """Shards of a corpus go in parallel; a task's few items are one."""
    recipe = source.recipe
    return min(recipe.corpus.num_shards, MOST_TASKS) if hasattr(recipe, "corpus") else 1


def _each(seconds: Mapping[str, float], tasks: int) -> dict[str, float]:
    return {name: value / tasks for name, value in seconds.items()}


def _evaluate(stage: Stage, study: Study, catalog: Catalog) -> Job:
    modality = modality_of(stage, study)
    items = stage.inputs["items"].stage.recipe
    if isinstance(items, recipes.PreparePrompts):
        return _continue(stage, study, items.task, catalog)
    assert isinstance(items, recipes.PrepareItems)
    weights = num_parameters(study.scale, TYPICAL_ROWS) * BYTES_PER_PARAMETER
    load = catalog.stage["start_seconds"] + weights / catalog.stage["load_bytes_per_second"]
    load /= len(study.tasks)  # one trial loads a checkpoint once for all tasks
    rate = modality.nominal_tokens_per_second
    hours = sizes.item_hours(items.task) * len(items.voices)
    forward = flops_per_token(study.scale, sizes.mean_tokens(study, modality)) / 3
    flops = hours * 3600 * rate * forward * LAYERS_COST
    seconds = {
        name: load + flops / (device.peak * device.score_share)
        for name, device in catalog.accelerators.items()
    }
    stored = sizes.num_items(items.task) * len(items.voices) * (study.scale.layers + 1) * 40.0
    cpus = LIGHT_CPUS
    return Job(stage, 1, 1, cpus, stage.demand.gpus, seconds, stored)


def _continue(stage: Stage, study: Study, task: Continuation, catalog: Catalog) -> Job:
    """Sampling token after token, then a chain that hears every second of it."""
    rate = modality_of(stage, study).nominal_tokens_per_second
    samples = float(task.num_prompts * (task.num_samples + 1) * task.max_seconds)
    seconds = catalog.stage["start_seconds"]
    seconds += samples / catalog.continuation["audio_seconds_per_second"]
    seconds += task.max_seconds * rate / catalog.continuation["tokens_per_second_of_a_stream"]
    everywhere = {name: seconds for name in catalog.accelerators}
    stored = samples * MP3_BYTES_PER_SECOND
    return Job(stage, 1, 1, LIGHT_CPUS, stage.demand.gpus, everywhere, stored)
