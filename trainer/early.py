"""Ending a training before its time, asked for by a file.

Whoever evaluates, the trainer or a job beside it, asks by writing
model_dir/STOP. The file holds the step from which on it counts, so that a
trainer that was killed and repeats some steps ends where it would have ended.
An empty file, made by hand, counts from now on.
"""

import json
import os

from absl import logging

from input import files
from trainer import engine, errors, loop

_FILE = "STOP"


def ask(model_dir: str, step: int, reason: str) -> None:
    """Asks for the end of training at a step; an earlier request stays."""
    if _read(model_dir) is None:
        logging.info("Training should end at step %d: %s.", step, reason)
        content = json.dumps({"step": step, "reason": reason})
        with errors.writing(_path(model_dir)):
            files.write_atomically(_path(model_dir), content.encode())


def forget(model_dir: str) -> None:
    """Removes a request, as a new training does.

    Raises:
        errors.OutputError: It cannot be removed.
    """
    with errors.writing(_path(model_dir)):
        files.remove(_path(model_dir))


def asked(model_dir: str, step: int) -> str:
    """Returns why training should end at this step, or "" if it should not."""
    content = _read(model_dir)
    if content is None:
        return ""
    try:
        request = json.loads(content)
        return request["reason"] if step >= request["step"] else ""
    except (ValueError, KeyError, TypeError):
        return f"{_path(model_dir)} is there"


def _path(model_dir: str) -> str:
    return os.path.join(model_dir, _FILE)


def _read(model_dir: str) -> bytes | None:
    try:
        return files.read(_path(model_dir))
    except FileNotFoundError:
        return None
    except IsADirectoryError:
        return b""


class StopWhenAsked:
    """An action that ends the loop of all processes once it is asked for.

    Attributes:
        reason: Why it has ended; "" while it has not.
    """

    def __init__(self, on: engine.Engine, model_dir: str) -> None:
        self._engine = on
        self._model_dir = model_dir
        self.reason = ""

    def __call__(self, latest: loop.Progress) -> None:
        """Raises loop.StopTraining where it is asked for."""
        if self.at(latest.step):
            raise loop.StopTraining

    def at(self, step: int) -> bool:
        """Returns whether training should end at a step, on all alike."""
        mine = asked(self._model_dir, step) if self._engine.is_chief else ""
        self.reason = self._engine.exchange(mine.encode())[0].decode()
        return bool(self.reason)
