"""Write the golden plans anew: run it when a change of addresses is meant, and read the diff."""

import json
from pathlib import Path

from ray_slm.scheduling.plan import plan
from ray_slm.study import load_study, study_names


def golden(name: str) -> dict[str, str]:
    """Stage name -> fingerprint."""
    return {stage.name: stage.fingerprint for stage in plan(load_study(name))}


if __name__ == "__main__":
    for study in study_names():
        path = Path(__file__).parent / f"{study}.json"
        path.write_text(json.dumps(golden(study), indent=1) + "\n")
