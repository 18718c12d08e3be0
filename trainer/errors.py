"""The errors that end a binary with one message."""


class ConfigError(ValueError):
    """A flag or a gin binding is wrong; the binaries exit with code 2."""


class EngineError(RuntimeError):
    """The devices or the other processes fail; the binaries exit with 1."""


class DivergedError(RuntimeError):
    """The loss or a weight is not a number any more; exit code 1."""


class CheckpointError(RuntimeError):
    """A checkpoint cannot be written; the binaries exit with 1."""


def reason(error: Exception) -> str:
    """Returns the first line of what an error says, for a message."""
    return (str(error).splitlines() or [""])[0] or repr(error)
