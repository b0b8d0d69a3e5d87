"""Try a stage again when what died was the cluster's: a node, a worker, an actor or its data.

Ray retries tasks, Ray Train its workers and Ray Tune its trials; an actor that dies in its start,
or a driver of others that dies, ends them all the same.  Stages go on with what is on disk, so
to call one again repeats little.  What user code raises comes as another type and is not retried.
"""

import time
from collections.abc import Callable
from typing import TypeVar

from ray.exceptions import NodeDiedError, ObjectLostError, RayActorError, WorkerCrashedError
from ray.train import ControllerError

TRIES = 4
FIRST_PAUSE_SECONDS = 1.0  # then twice as long each time
LOSSES = (NodeDiedError, ObjectLostError, RayActorError, WorkerCrashedError)

Result = TypeVar("Result")


def despite_losses(call: Callable[[], Result]) -> Result:
    """The call's result; the last loss is raised when every try met one."""
    for failures in range(TRIES - 1):
        try:
            return call()
        except (*LOSSES, ControllerError) as error:
            if not lost(error):
                raise
            time.sleep(FIRST_PAUSE_SECONDS * 2**failures)
    return call()


def lost(error: BaseException) -> bool:
    """Whether an error is a loss.

    Ray Train calls a node that dies while its workers start the controller's failure, for good.
    """
    return isinstance(getattr(error, "controller_failure", error), LOSSES)
