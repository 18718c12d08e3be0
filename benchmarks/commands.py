"""Commands of Lockstep, as a user runs them."""

import subprocess
import sys


def run(module: str, *arguments: str) -> None:
    """Runs a command quietly to its end.

    Args:
        module: Such as `trainer.main`.
        arguments: Its flags.

    Raises:
        SystemExit: It failed; with the end of what it said.
    """
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{module} failed:\n{done.stderr[-3000:]}")
