"""A study: one question as a value.  Everything that is run follows from its fields.

A study file holds one constant ``STUDY``; `ray-slm` takes its name or the path to such a file.
"""

import dataclasses
import importlib
import importlib.util
import pkgutil
import re
from pathlib import Path

import ray_slm.studies
from ray_slm.corpora.corpus import Corpus
from ray_slm.corpora.inventory import STRESSED_ARPABET
from ray_slm.evaluation.contrasts import Contrast
from ray_slm.modalities.modality import Modality
from ray_slm.rehearsal import Kit
from ray_slm.tasks.continuation import Continuation
from ray_slm.tasks.task import NamedTask
from ray_slm.training.scale import Batching, Ending, Optimizer, Scale

NAME = re.compile(r"^[a-z0-9][a-z0-9._-]{0,62}$")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Study:
    """Corpus x modalities x seeds x checkpoints x tasks, and the contrasts fixed beforehand.

    ``checkpoint_hours`` are hours of audio heard in training, the same for every modality; the
    token counts of checkpoints follow from each modality's nominal rate.  0 is the untrained
    model, the negative control.  ``resources`` say what a training worker takes of the cluster.
    """

    name: str
    question: str
    notice: str
    corpus: Corpus
    modalities: tuple[Modality, ...]
    scale: Scale
    optimizer: Optimizer
    batching: Batching
    checkpoint_hours: tuple[float, ...]
    tasks: tuple[NamedTask, ...]
    item_voices: tuple[str, ...]
    item_voice_rung: str = "flite"
    item_shards: int = 2
    seeds: tuple[int, ...] = (0,)
    contrasts: tuple[Contrast, ...] = ()
    continuation: Continuation | None = None  # at each run's last checkpoint
    ending: Ending = dataclasses.field(default_factory=Ending)
    precision: str = "fp32"
    train_workers: int = 1
    train_cpus: float = 1.0
    train_gpus: float = 0.0
    train_least_workers: int | None = None  # given: as many up to ``train_workers`` as there are
    train_microbatch_tokens: int | None = None  # padding included; None: by the device
    train_compiled: bool = False
    train_recompute: bool = False  # activations again in the backward pass, to save memory
    encode_gpus: float = 0.0  # of each encoder of speech; 0: processors do it
    evaluate_gpus: float = 0.0  # of each checkpoint under evaluation

    def __post_init__(self) -> None:
        """Refuse what cannot be run, all errors at once."""
        problems = [*_bad_names(self), *_bad_budget(self), *_bad_contrasts(self)]
        problems += _bad_inventories(self)
        if problems:
            raise ValueError(f"study {self.name!r}: " + "; ".join(problems))

    def tokens_after(self, modality: Modality, hours: float) -> int:
        """Trained tokens after ``hours`` of audio at the modality's nominal rate."""
        return round(hours * 3600 * modality.nominal_tokens_per_second)


def _bad_names(study: Study) -> list[str]:
    tasks = [task.name for task in study.tasks]
    tasks += [study.continuation.name] if study.continuation else []
    names = [study.name, *(m.name for m in study.modalities), *tasks]
    bad = [f"the name {n!r} does not match {NAME.pattern}" for n in names if not NAME.match(n)]
    names_of: dict[str, list[str]] = {
        "modality": [m.name for m in study.modalities],
        "task": tasks,
        "seed": [str(seed) for seed in study.seeds],
    }
    for what, values in names_of.items():
        if not values:
            bad.append(f"there is no {what}")
        bad += [
            f"{what} {v!r} stands twice"
            for v in sorted({v for v in values if values.count(v) > 1}, key=str)
        ]
    return bad


def _bad_budget(study: Study) -> list[str]:
    hours, bad = study.checkpoint_hours, []
    if list(hours) != sorted(set(hours)) or not hours or hours[-1] <= 0 or hours[0] < 0:
        bad.append(f"checkpoint_hours must rise from 0 or more, got {hours}")
    if study.precision not in ("fp32", "bf16"):
        bad.append(f"precision is {study.precision!r}: use 'fp32' or 'bf16'")
    if study.ending.epochs and study.optimizer.schedule == "wsd-branches":
        bad.append("branches end at token counts: ending.epochs needs another schedule")
    if not 1 <= (study.train_least_workers or 1) <= study.train_workers:
        bad.append(
            f"train_least_workers must lie between 1 and train_workers={study.train_workers}"
        )
    if len(study.item_voices) < 1:
        bad.append("item_voices is empty: every item needs a voice to exist as audio")
    return bad


def _bad_inventories(study: Study) -> list[str]:
    """Streams of other phones than the corpus has would refuse every utterance."""
    of_corpus = getattr(study.corpus, "inventory", STRESSED_ARPABET)
    return [
        f"modality {m.name!r} reads another phone inventory than the corpus has: give both one"
        for m in study.modalities
        if getattr(m.stream, "inventory", of_corpus) != of_corpus
    ]


def _bad_contrasts(study: Study) -> list[str]:
    known = {m.name for m in study.modalities}
    return [
        f"contrast {c.factor} names {name!r}, which is none of {sorted(known)}"
        for c in study.contrasts
        for name in (c.baseline, c.modality)
        if name not in known
    ]


def study_names() -> list[str]:
    """The studies that ship with the package."""
    return sorted(module.name for module in pkgutil.iter_modules(ray_slm.studies.__path__))


def load_study(name_or_path: str) -> Study:
    """The study of that name, or of the user's file.  Raises ValueError saying what is wrong."""
    study = getattr(_module(name_or_path), "STUDY", None)
    if not isinstance(study, Study):
        raise ValueError(f"{name_or_path}: no constant STUDY = Study(...) in this file")
    return study


def _module(name_or_path: str) -> object:
    if name_or_path.endswith(".py"):
        return _load_file(Path(name_or_path))
    if name_or_path in study_names():
        return importlib.import_module(f"ray_slm.studies.{name_or_path}")
    raise ValueError(
        f"there is no study {name_or_path!r}: use one of {', '.join(study_names())}, "
        "or the path of a .py file with STUDY = Study(...)"
    )


def load_rehearsal(name_or_path: str, kit: Kit) -> Study:
    """The study's rehearsal on stand-ins.  Raises ValueError where a study has none."""
    module = _module(name_or_path)
    rehearse = getattr(module, "rehearse", None)
    if rehearse is None:
        raise ValueError(
            f"{name_or_path} has no rehearsal: give its file a function rehearse(kit) that returns "
            "the study scaled down (see ray_slm/studies/paper.py)"
        )
    study = rehearse(kit)
    assert isinstance(study, Study), type(study)
    return study


def _load_file(path: Path) -> object:
    if not path.is_file():
        raise ValueError(f"{path}: there is no such study file")
    spec = importlib.util.spec_from_file_location(f"user_study_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (SyntaxError, NameError, TypeError, AttributeError, ImportError) as error:
        line = _line_in(error, path)
        raise ValueError(f"{path}{line}: {type(error).__name__}: {error}") from error
    return module


def _line_in(error: BaseException, path: Path) -> str:
    """``:LINE`` of the innermost frame, or of the syntax error, in the user's own file."""
    if isinstance(error, SyntaxError) and error.lineno:
        return f":{error.lineno}"
    trace, line = error.__traceback__, 0
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(path):
            line = trace.tb_lineno
        trace = trace.tb_next
    return f":{line}" if line else ""
