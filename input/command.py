"""What the commands of `input` share: own flags, --help and exit codes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence

import tensorflow as tf
from absl import flags

from input import errors, files, staging

# Default, least value, greatest value, text.
Number = tuple[int | None, int | None, int | None, str]


def define_flags(
    texts: Mapping[str, str],
    numbers: Mapping[str, Number],
    booleans: Mapping[str, str],
    defaults: Mapping[str, str] | None = None,
) -> flags.FlagValues:
    """Returns flags, apart from those of other binaries.

    Args:
        texts: What --help says of each flag that is a string.
        numbers: The same of whole numbers, with what they may be.
        booleans: The same of those that are off by default.
        defaults: Of strings; "" unless given.
    """
    values = flags.FlagValues()
    for name, text in texts.items():
        flags.DEFINE_string(
            name, (defaults or {}).get(name, ""), text, flag_values=values
        )
    for name, (number, low, high, text) in numbers.items():
        flags.DEFINE_integer(
            name,
            number,
            text,
            lower_bound=low,
            upper_bound=high,
            flag_values=values,
        )
    for name, text in booleans.items():
        flags.DEFINE_bool(name, False, text, flag_values=values)
    return values


def run(
    program: str,
    manual: str,
    values: flags.FlagValues,
    main: Callable[[list[str]], int],
    arguments: Sequence[str],
    after_failure: str = "",
) -> int:
    """Parses flags, calls `main` with the other arguments, returns its code.

    Args:
        program: Name of the command for messages.
        manual: What --help says before the flags.
        values: The flags, `help` among them, which are filled in.
        main: What the command does. SIGTERM and SIGHUP interrupt it.
        arguments: Name of the program, flags and other arguments.
        after_failure: What is true after an interrupt or an error of the
            system, as a sentence; "": nothing worth saying.

    Returns:
        2 for wrong use, 3 for bad data, 1 for an interrupt or an error of the
        system, each with one message; else what `main` does.
    """

    def fail(message: object, code: int) -> int:
        print(f"{program}: {message}", file=sys.stderr)
        return code

    try:
        rest = values(arguments)[1:]
        if values.help:
            print(f"{manual}\nFlags:{values.get_help()}")
            return 0
        with staging.interruptible():
            return main(rest)
    except (errors.UsageError, flags.Error) as e:
        return fail(e, 2)
    except errors.DataError as e:
        return fail(e, 3)
    except KeyboardInterrupt as e:
        return fail(f"interrupted by {e}. {after_failure}".rstrip(), 1)
    except (OSError, tf.errors.OpError) as e:
        return fail(f"{e}. {after_failure}" if after_failure else e, 1)


def write_output(flag: str, path: str, content: bytes) -> None:
    """Writes what a command was asked for to a file, whole or not at all.

    Args:
        flag: That gave the path.
        path: Local or remote.
        content: Of the file.

    Raises:
        errors.UsageError: It cannot be written.
    """
    try:
        files.write_atomically(path, content)
    except (OSError, tf.errors.OpError) as e:
        raise errors.UsageError(
            f"--{flag}={path} cannot be written: {e}. Make room, or name a "
            "file in a folder of yours."
        ) from e
