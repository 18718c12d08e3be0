"""Runs the trainer, and kills it at one stage of one save.

    python -m tests.trainer.killed STAGE SAVE FLAGS...

STAGE is one of `STAGES`; SAVE counts from 1. FLAGS are those of trainer.main.
"""

import os
import signal
import sys
from typing import Any

import tensorflow as tf

from trainer import archive, cli, main

STAGES = ("before data", "within data", "after data", "before commit", "after")


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def arm(stage: str, save: int) -> None:
    """Makes this process end itself when it comes there."""
    write, rename = archive._write_arrays, tf.io.gfile.rename
    saves = 0

    def writing(path: str, arrays: archive.Arrays) -> tuple[int, str]:
        nonlocal saves
        saves += 1
        if saves < save:
            return write(path, arrays)
        if stage == "before data":
            _kill()
        if stage == "within data":
            with open(path, "wb") as file:
                file.write(b"PK" + bytes(1000))
            _kill()
        answer = write(path, arrays)
        if stage == "after data":
            _kill()
        return answer

    def renaming(source: str, target: str, *rest: Any, **more: Any) -> None:
        is_commit = "step-" in os.path.basename(target)
        if is_commit and saves == save and stage == "before commit":
            _kill()
        rename(source, target, *rest, **more)
        if is_commit and saves == save and stage == "after":
            _kill()

    archive._write_arrays = writing
    tf.io.gfile.rename = renaming


if __name__ == "__main__":
    arm(sys.argv[1], int(sys.argv[2]))
    cli.run(main.main, ["killed", *sys.argv[3:]])
