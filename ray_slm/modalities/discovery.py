"""Finding the modalities: one file, one constant ``MODALITY``, nothing to register.

A file that holds none is machinery.  Wrong types and names that differ from the file's or stand
twice are errors when the files are read, not when a study runs.
"""

import importlib
import pkgutil

import ray_slm.modalities
from ray_slm.modalities.modality import Modality


def discover() -> dict[str, Modality]:
    """All modalities by name, sorted.  Raises ValueError naming the file that is wrong."""
    found: dict[str, Modality] = {}
    package = ray_slm.modalities
    for file in sorted(pkgutil.iter_modules(package.__path__), key=lambda file: file.name):
        module = importlib.import_module(f"{package.__name__}.{file.name}")
        if not hasattr(module, "MODALITY"):
            continue
        modality = module.MODALITY
        if not isinstance(modality, Modality):
            raise ValueError(
                f"{module.__name__}: MODALITY is a {type(modality).__name__}, not a Modality; "
                "write MODALITY = Modality(name=..., stream=..., nominal_tokens_per_second=...)"
            )
        if modality.name in found:
            raise ValueError(
                f"{module.__name__}: a second file holds a modality named {modality.name!r}; "
                "rename one"
            )
        if modality.name != file.name.replace("_", "-"):
            raise ValueError(
                f"{module.__name__}: its modality is named {modality.name!r}; name it "
                f"{file.name.replace('_', '-')!r}, as the file"
            )
        found[modality.name] = modality
    return found
