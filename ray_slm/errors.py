"""Errors that end a run, each with the exit code a shell sees.

A plain ValueError is the user's or the configuration's (2).  Anything unforeseen that outlived
its retries is infrastructure (5).
"""

EXIT_USER = 2
EXIT_INFRASTRUCTURE = 5
EXIT_INTERRUPTED = 130


class QuarantineLimitError(ValueError):
    """More items were quarantined for one reason than the study tolerates."""

    exit_code = 3


class DivergedError(ValueError):
    """A loss or a gradient that is not finite: the learning rate or the data of a run is wrong."""


class ResourceError(RuntimeError):
    """The machine or cluster lacks what a stage needs: processors, memory, disk, a lock."""

    exit_code = 4


class FencedError(ResourceError):
    """Another driver took the root over: what this one makes must not be published."""


class StorageError(RuntimeError):
    """The object store did not answer, or answered with other bytes, until patience ended."""

    exit_code = EXIT_INFRASTRUCTURE


def exit_code(error: BaseException) -> int:
    """The exit code for an error; a worker's error is judged by its cause."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, BaseException):
        return exit_code(cause)
    code = getattr(error, "exit_code", None)
    if isinstance(code, int):
        return code
    return EXIT_USER if isinstance(error, ValueError) else EXIT_INFRASTRUCTURE
