"""Finding the tasks: one file, one constant ``TASK``, nothing to register.

A file that holds none is machinery.  Wrong types and names that stand twice are errors when the
files are read, not when a study runs.
"""

import dataclasses
import importlib
import pkgutil

import ray_slm.tasks
from ray_slm.tasks.task import Task


def discover() -> dict[str, Task]:
    """All tasks by name, sorted.  Raises ValueError naming the file that is wrong."""
    found: dict[str, Task] = {}
    package = ray_slm.tasks
    for file in pkgutil.iter_modules(package.__path__):
        module = importlib.import_module(f"{package.__name__}.{file.name}")
        if hasattr(module, "TASK"):
            task = checked(module.TASK, module.__name__)
            if task.name in found:
                raise ValueError(
                    f"{module.__name__}: a second file holds a task named {task.name!r}; rename one"
                )
            found[task.name] = task
    return dict(sorted(found.items()))


def checked(task: object, place: str) -> Task:
    """``task`` itself when it is a frozen dataclass value with a Task's members.

    Raises ValueError that names ``place`` otherwise.
    """
    members = [isinstance(getattr(task, name, None), str) for name in ("name", "title")]
    if (
        isinstance(task, type)
        or not dataclasses.is_dataclass(task)
        or not getattr(type(task), "__dataclass_params__").frozen  # noqa: B009
        or not all(members)
        or not any(callable(getattr(task, verb, None)) for verb in ("items", "read", "recorded"))
    ):
        raise ValueError(
            f"{place}: TASK is {task!r}, not a frozen dataclass value with name, title and "
            "items(corpus), read(folder) or recorded(folder); see ray_slm/tasks"
        )
    return task  # type: ignore[return-value]
