"""Which training utterances a vocabulary is fitted on: those with the smallest seeded hashes.

A hash of the id, and not the order of reading, decides, so that workers and shards change nothing.
Anything but training utterances is refused here, once for every vocabulary.
"""

import hashlib
import heapq
from collections.abc import Callable, Iterable

from ray_slm.corpora.utterance import Utterance

TRAINING_SPLIT = "train"


def sample_by_hash(
    utterances: Iterable[Utterance],
    enough: float,
    weight: Callable[[Utterance], float],
    seed: int,
) -> list[Utterance]:
    """The utterances of smallest seeded hash whose weights reach ``enough``, sorted by id.

    All of them when they do not reach it.  Holds the sample only, whatever the corpus's size.
    Raises ValueError when there is none, or when one is not of the training split.
    """
    kept: list[tuple[int, str, Utterance]] = []  # a heap with the largest hash on top
    total = 0.0
    for utterance in utterances:
        _refuse_untrained(utterance)
        heapq.heappush(kept, (-_seeded_hash(utterance.id, seed), utterance.id, utterance))
        total += weight(utterance)
        while total - weight(kept[0][2]) >= enough:
            total -= weight(heapq.heappop(kept)[2])
    if not kept:
        raise ValueError(
            "there is no training utterance to fit a vocabulary on; prepare a corpus whose "
            f"split {TRAINING_SPLIT!r} is not empty"
        )
    return sorted((utterance for _, _, utterance in kept), key=lambda u: u.id)


def _refuse_untrained(utterance: Utterance) -> None:
    if utterance.split != TRAINING_SPLIT:
        raise ValueError(
            f"utterance {utterance.id} is of split {utterance.split!r}: a vocabulary is fitted on "
            f"split {TRAINING_SPLIT!r} only; pass read_utterances(folder, ('{TRAINING_SPLIT}',))"
        )


def _seeded_hash(utterance_id: str, seed: int) -> int:
    digest = hashlib.sha256(f"{seed}\n{utterance_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big")
