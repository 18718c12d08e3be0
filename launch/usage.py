"""Flags of a command that takes its errors, and no others, as exit code 2."""

import shutil
import sys
from collections.abc import Callable, Sequence

from absl import flags

WRONG_USE = 2


class UsageError(ValueError):
    """A flag is wrong, or something that the command needs is missing."""


def run(
    program: str,
    manual: str,
    values: flags.FlagValues,
    main: Callable[[list[str]], int],
    arguments: Sequence[str],
) -> int:
    """Parses flags, calls `main` with the other arguments, returns its code.

    Args:
        program: Name of the command for messages.
        manual: What --help says before the flags.
        values: The flags, which are filled in.
        main: What the command does. A UsageError of it is shown.
        arguments: Name of the program, flags and other arguments.
    """
    flags.DEFINE_bool("help", False, "Show this.", flag_values=values)
    try:
        rest = values(arguments)[1:]
        if values.help:
            print(f"{manual}\nFlags:{values.get_help()}")
            return 0
        return main(rest)
    except (UsageError, flags.Error) as error:
        print(f"{program}: {error}", file=sys.stderr)
        return WRONG_USE


def find_command(rest: Sequence[str]) -> list[str]:
    """Returns the command that stands after the flags, `python` as this one.

    Raises:
        UsageError: There is none, or none that can be run.
    """
    if not rest:
        raise UsageError(
            "there is no command. Write it after the flags: -- python -m "
            "trainer.main ..."
        )
    program, *others = rest
    if program == "python":
        # PATH may have another one, without TensorFlow, or none.
        program = sys.executable
    if shutil.which(program) is None:
        raise UsageError(
            f"{program!r} is no program that can be run here: there is no "
            "such executable file, in PATH or by that name. Check its name."
        )
    return [program, *others]
