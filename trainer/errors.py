"""The error that a user can mend by changing a flag or a gin file."""


class ConfigError(ValueError):
    """A flag or a gin binding is wrong; the binaries exit with code 2."""
