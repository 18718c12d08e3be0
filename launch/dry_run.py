"""The numbers of a training, from a dry run of `trainer.main`."""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import Any


class RecipeError(ValueError):
    """The recipe or its data is wrong.

    Attributes:
        code: What trainer.main has ended with, 2 or 3.
    """

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def read_facts(
    gin_files: Sequence[str], gin_params: Sequence[str]
) -> dict[str, Any]:
    """Returns `trainer.plan.facts` of a recipe, by a dry run of it.

    Raises:
        RecipeError: The recipe or its data is wrong.
    """
    with tempfile.TemporaryDirectory() as scratch:
        path = os.path.join(scratch, "plan.json")
        arguments = [
            *(sys.executable, "-m", "trainer.main", "--dry_run"),
            f"--plan_file={path}",
            *(f"--gin_file={file}" for file in gin_files),
            *(f"--gin_param={param}" for param in gin_params),
            # The engine of the gin file may need machines that are not here.
            '--gin_param=make_engine.name="one_device"',
            "--gin_param=make_engine.virtual_devices=None",
        ]
        print("Building the training on this machine ...", file=sys.stderr)
        done = subprocess.run(
            arguments, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise failure(done)
        with open(path) as file:
            return json.load(file)


def failure(done: subprocess.CompletedProcess[str]) -> Exception:
    """Returns the user's mistake as such, and anything else in full."""
    _, *messages = re.split(r"^error: ", done.stderr, flags=re.MULTILINE)
    if messages and done.returncode in (2, 3):
        return RecipeError(messages[-1].strip(), done.returncode)
    return RuntimeError(
        f"{done.args!r} ended with code {done.returncode}:\n"
        f"{done.stderr[-4000:]}"
    )
