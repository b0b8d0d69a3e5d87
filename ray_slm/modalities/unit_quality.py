"""How good units are on the sample they were fitted on, as the vocabulary's record tells it.

Legend: N frames of all utterances.
"""

import numpy as np
import pyarrow as pa

from ray_slm.corpora.inventory import NOISE, SILENCE, Inventory
from ray_slm.corpora.lexicon import without_stress
from ray_slm.modalities.phone_repeat import frame_counts, repeated_phones
from ray_slm.units.quality import changes_per_frame, dependence, usage


def describe(units_N: np.ndarray, utterances: pa.Table, num_units: int) -> dict[str, object]:
    """PNMI and purity (phones without stress, where all are aligned), speaker NMI, usage."""
    sizes = frame_counts(utterances["num_samples"].to_numpy())
    used = usage(units_N, num_units)
    summary: dict[str, object] = {
        "num_units": num_units,
        "num_frames": len(units_N),
        "usage_entropy": used.entropy,
        "unused_share": used.unused_share,
        "changes_per_frame": changes_per_frame(units_N, np.cumsum(sizes) - sizes),
    }
    speakers_N = np.repeat(np.array(utterances["speaker"].to_pylist()), sizes)
    summary["speaker_nmi"] = dependence(units_N, speakers_N).normalized_information
    spoken = {phone for phones in utterances["phones"].to_pylist() for phone in phones}
    inventory = Inventory(phones=tuple(sorted({SILENCE, NOISE, *spoken})))
    phones = repeated_phones(utterances, inventory)
    if not phones.refused:
        stressless = np.array(without_stress(inventory.phones))
        of_phones = dependence(units_N, stressless[phones.flat_T])
        summary["pnmi"] = of_phones.normalized_information
        summary["phone_purity"] = of_phones.purity
    return summary
