"""The errors that end a binary with one message."""


class ConfigError(ValueError):
    """A flag or a gin binding is wrong; the binaries exit with code 2."""


class EngineError(RuntimeError):
    """The devices or the other processes fail; the binaries exit with 1."""
