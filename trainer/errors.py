"""The errors that end a binary with one message."""

import contextlib
from collections.abc import Iterator

import tensorflow as tf


class ConfigError(ValueError):
    """A flag or a gin binding is wrong; the binaries exit with code 2."""


class EngineError(RuntimeError):
    """The devices or the other processes fail; the binaries exit with 1."""


class DivergedError(RuntimeError):
    """Training has diverged; the binaries exit with 1.

    Attributes:
        reason: What was seen.
        step: Steps taken when it was seen.
    """

    def __init__(self, message: str, reason: str, step: int) -> None:
        super().__init__(message)
        self.reason = reason
        self.step = step


class OutputError(RuntimeError):
    """What a run writes cannot be written; the binaries exit with 1."""


class CheckpointError(OutputError):
    """A checkpoint cannot be written, or a disk cannot be reached."""


@contextlib.contextmanager
def writing(path: str) -> Iterator[None]:
    """Tells of a disk or a store that fails while a file is written.

    Raises:
        OutputError: It has failed.
    """
    try:
        yield
    except (OSError, tf.errors.OpError) as error:
        raise OutputError(
            f"{path} cannot be written: {reason(error)}. Make room or mend "
            "the disk, then run the same command again."
        ) from error


def reason(error: Exception) -> str:
    """Returns the first line of what an error says, for a message."""
    return (str(error).splitlines() or [""])[0] or repr(error)
