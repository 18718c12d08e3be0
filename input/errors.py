"""Errors of the input package that end a run with a known exit code."""

from __future__ import annotations


class DataError(ValueError):
    """The data are bad: a missing shard, a corrupt image, an empty split.

    The message names the file, says what is wrong and what to do. Binaries
    print it without a traceback and end with exit code 3.
    """


class UsageError(ValueError):
    """A flag of an input binary is wrong: name, value, rule and fix.

    Binaries print the message without a traceback and end with exit code 2.
    """


class ServiceError(RuntimeError):
    """A data service does not answer, or has lost what it was doing.

    Binaries print the message without a traceback and end with exit code 1:
    starting again may help.
    """
