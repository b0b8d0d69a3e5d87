"""The text of a record: what a result is, which files it has, and what made it when."""

import json
import time
from collections.abc import Mapping
from pathlib import Path

from ray_slm.scheduling.folders import listed
from ray_slm.scheduling.stage import Stage


def record_text(
    stage: Stage, part: str, folder: Path, summary: Mapping[str, object], made: object
) -> str:
    """The record of the files that lie in ``folder`` now."""
    record = {
        "address": stage[part].address,
        "stage": stage.name,
        "part": part,
        "fingerprint": stage.fingerprint,
        "identity": stage.identity,
        "inputs": {role: artifact.address for role, artifact in stage.inputs.items()},
        "files": listed(folder),
        "summary": dict(summary),
        "made": made,
        "written_at": time.time(),
    }
    return json.dumps(record, indent=1, sort_keys=True)


def parsed(text: str, where: str) -> dict:
    """The record of that text.  Raises ValueError naming the file when it is damaged."""
    try:
        record = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{where} is damaged ({error}); delete this file and run again") from None
    if not isinstance(record, dict) or not isinstance(record.get("files"), dict):
        raise ValueError(f"{where} is damaged (no list of files); delete it and run again")
    return record
