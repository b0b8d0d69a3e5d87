"""Table 2 of the paper from records alone: what each modality makes of the same speech.

The report and `ray-slm tokens` share these rows.  What a tokenizer left out is the difference
between the corpus's record and the tokens' record, split by split, so nothing can be missed.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from ray_slm.scheduling.stage import Stage
from ray_slm.scheduling.store import Store

QUALITY = ("pnmi", "phone_purity", "speaker_nmi", "usage_entropy", "unused_share")
TITLES = ("modality", "split", "vocabulary", "tokens", "tokens/s", "hours", "quarantined")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TokenCounts:
    """One modality and split.  Utterances of the corpus = ``num_utterances + num_quarantined``."""

    modality: str
    split: str
    vocab_size: int
    num_tokens: int
    num_utterances: int
    num_quarantined: int
    seconds: float  # of the audio that was tokenized
    ids_sha256: str  # of the utterance ids, the same where the same utterances came through

    @property
    def tokens_per_second(self) -> float:
        """Tokens per second of audio; 0 where nothing came through."""
        return self.num_tokens / self.seconds if self.seconds else 0.0

    @property
    def quarantined_share(self) -> float:
        """Share of the corpus's utterances, from 0 to 1, that this modality left out."""
        total = self.num_utterances + self.num_quarantined
        return self.num_quarantined / total if total else 0.0


class CorpusCounts(NamedTuple):
    """What went into a corpus and what never became an utterance, by reason."""

    corpus: str
    candidates: int
    quarantined: dict[str, int]


def token_stages(stages: Iterable[Stage]) -> Iterator[Stage]:
    """The tokenizing stages whose input is a corpus, not a task's items."""
    for stage in stages:
        source = stage.inputs.get("corpus")
        if stage.name.startswith("tokens/") and source is not None and _is_corpus(source.stage):
            yield stage


def token_counts(stage: Stage, store: Store) -> list[TokenCounts]:
    """One row per split of the corpus.  Raises ValueError when the records contradict each other.

    A split of which nothing came through has a row too, with 0 tokens.
    """
    source = stage.inputs["corpus"].address
    of_corpus = store.record(source)["summary"]["splits"]
    summary = store.record(stage.address)["summary"]
    rows = []
    for split in sorted({*of_corpus, *summary["splits"]}):
        found = summary["splits"].get(split, {})
        num_in = of_corpus.get(split, {}).get("utterances", 0)
        num_out = found.get("num_utterances", 0)
        if num_out > num_in:
            raise ValueError(
                f"{stage.address} has {num_out} utterances of {split} and {source} only {num_in}: "
                "run `ray-slm verify`, then delete the record that is wrong and run again"
            )
        rows.append(
            TokenCounts(
                modality=stage.name.split("/")[1],
                split=split,
                vocab_size=summary["vocab_size"],
                num_tokens=found.get("num_tokens", 0),
                num_utterances=num_out,
                num_quarantined=num_in - num_out,
                seconds=found.get("seconds", 0.0),
                ids_sha256=found.get("ids_sha256", ""),
            )
        )
    return rows


def corpus_counts(stages: Iterable[Stage], store: Store) -> list[CorpusCounts]:
    """Of every corpus with a record; its quarantine has no split, as no utterance came of it."""
    found = []
    for stage in stages:
        if _is_corpus(stage) and store.has(stage.address):
            summary = store.record(stage.address)["summary"]
            candidates = summary.get("candidates", 0)
            found.append(CorpusCounts(stage.name, candidates, summary.get("quarantined", {})))
    return found


def unit_quality(stages: Iterable[Stage], store: Store) -> dict[str, dict[str, float]]:
    """How good the units of each fitted codebook are, on the sample they were fitted on.

    Phone-normalized mutual information and purity (where the sample is aligned), what units tell
    of the speaker, and how they are used; all from 0 to 1, see ``units.quality``.
    """
    found = {}
    for stage in stages:
        if stage.name.startswith("vocabulary/") and store.has(stage.address):
            summary = store.record(stage.address)["summary"]
            if "usage_entropy" in summary:
                kept = ("num_units", "num_frames", *QUALITY)
                found[stage.name] = {name: summary[name] for name in kept if name in summary}
    return found


def as_json(stages: Sequence[Stage], store: Store) -> dict[str, object]:
    """The table, the corpora and the names of stages that have no record yet; JSON-ready."""
    rows = [
        dataclasses.asdict(row)
        | {
            "hours": row.seconds / 3600,
            "tokens_per_second": row.tokens_per_second,
            "quarantined_share": row.quarantined_share,
        }
        for stage in token_stages(stages)
        if store.has(stage.address)
        for row in token_counts(stage, store)
    ]
    return {
        "rows": rows,
        "corpora": [counts._asdict() for counts in corpus_counts(stages, store)],
        "units": unit_quality(stages, store),
        "pending": [s.name for s in token_stages(stages) if not store.has(s.address)],
    }


def as_text(stages: Sequence[Stage], store: Store) -> str:
    """The same for people."""
    cells: list[tuple[str, ...]] = [TITLES]
    for stage in token_stages(stages):
        if store.has(stage.address):
            cells += [_cells(row) for row in token_counts(stage, store)]
        else:
            cells.append((stage.name.split("/")[1], "pending", *[""] * 5))
    widths = [max(len(row[column]) for row in cells) for column in range(len(TITLES))]
    lines = [
        "  ".join(
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]
    lines += [_corpus_line(counts) for counts in corpus_counts(stages, store)]
    qualities = unit_quality(stages, store)
    return "\n".join([*lines, *(_quality_line(*one) for one in qualities.items())])


def _is_corpus(stage: Stage) -> bool:
    return stage.name.startswith("corpus/")


def _cells(row: TokenCounts) -> tuple[str, ...]:
    return (
        row.modality,
        row.split,
        f"{row.vocab_size:,}",
        f"{row.num_tokens:,}",
        f"{row.tokens_per_second:.2f}",
        f"{row.seconds / 3600:,.2f}",
        f"{row.num_quarantined:,} ({100 * row.quarantined_share:.2f} %)",
    )


def _corpus_line(counts: CorpusCounts) -> str:
    lost = sum(counts.quarantined.values())
    share = 100 * lost / counts.candidates if counts.candidates else 0.0
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in counts.quarantined.items())
    line = f"{counts.corpus}: {lost:,} of {counts.candidates:,} candidates quarantined"
    return f"{line} ({share:.2f} %){': ' + reasons if reasons else ''}"


def _quality_line(vocabulary: str, quality: Mapping[str, float]) -> str:
    told = (f"{name.replace('_', ' ')} {quality[name]:.3f}" for name in QUALITY if name in quality)
    frames = f"{quality['num_units']:,} units on {quality['num_frames']:,} frames"
    return f"{vocabulary}: {frames}: {', '.join(told)}"
