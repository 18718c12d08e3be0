"""Which checkpoint of a run is evaluated next, as the trainer writes them."""

import dataclasses
import json
import os
from collections.abc import Sequence

import tensorflow as tf
from absl import logging

from input import pipeline
from trainer import agreement, archive, checkpoint, files, session


@dataclasses.dataclass(frozen=True)
class Next:
    """What to do next, the same in all processes.

    Attributes:
        step: The step whose weights have been loaded; None for none.
        ended: Whether there is nothing more to come.
        seen: Whether a checkpoint has ever been there.
    """

    step: int | None
    ended: bool
    seen: bool


class Follower:
    """Loads the checkpoints of a run, one after the other.

    A checkpoint that the trainer drops while it is read is left out. The chief
    reads; the others need not see its disk.

    Args:
        model_dir: Of the run; may not be there yet.
        parts: Take the weights.
        known: Steps to leave out.
        latest_only: Whether to leave out all but the newest.
    """

    def __init__(
        self,
        model_dir: str,
        parts: session.Session,
        known: set[int],
        latest_only: bool,
    ) -> None:
        self._model_dir = model_dir
        self._parts = parts
        self._done = set(known)
        self._latest_only = latest_only
        self._checkpoints = _checkpoints(model_dir)
        self._seen = bool(known)

    def next(self, late: bool) -> Next:
        """Loads the next checkpoint, if there is one; all processes call it.

        Args:
            late: On the chief: not to wait for another.
        """
        found: list[Next] = []
        on = self._parts.engine
        agreement.on_chief(on, lambda: found.append(self._look(late)))
        mine = json.dumps(dataclasses.asdict(found[0])) if found else ""
        answer = Next(**json.loads(on.exchange(mine.encode())[0]))
        if answer.step is not None:
            on.broadcast(list(self._parts.state.variables().values()))
        return answer

    def _look(self, late: bool) -> Next:
        # Asked before looking: a checkpoint that comes later is not missed.
        ended = tf.io.gfile.exists(os.path.join(self._model_dir, "DONE"))
        while waiting := self._waiting():
            step = waiting[0]
            self._done.add(step)
            if self._load(step):
                if self._latest_only:
                    self._done.update(waiting)
                return Next(step, ended=False, seen=True)
        if late and not ended:
            logging.warning("No other checkpoint has come in time.")
        return Next(None, ended or late, self._seen)

    def _waiting(self) -> list[int]:
        """Returns the steps to evaluate, the next one first."""
        steps = self._checkpoints.steps()
        self._seen = self._seen or bool(steps)
        waiting = [step for step in steps if step not in self._done]
        return waiting[::-1] if self._latest_only else waiting

    def _load(self, step: int) -> bool:
        path = self._checkpoints.path(step)
        try:
            arrays = archive.read(path)
        except archive.Corrupt as corrupt:
            if step in self._checkpoints.steps():
                logging.warning("Skipping a checkpoint: %s", corrupt)
            else:
                logging.info("Step %d: dropped before it was read.", step)
            return False
        archive.assign(self._parts.state.variables(), arrays, path)
        return True


def steps(model_dir: str) -> list[int]:
    """Returns the steps of the checkpoints that are there now."""
    return _checkpoints(model_dir).steps()


def _checkpoints(model_dir: str) -> checkpoint.Checkpoints:
    return checkpoint.Checkpoints(os.path.join(model_dir, "checkpoints"))


def evaluated(
    model_dir: str, evaluations: Sequence[pipeline.EvalData], by: str
) -> set[int]:
    """Returns the steps of which all splits have been evaluated before.

    Args:
        model_dir: Of the run, whose metrics.jsonl says so.
        evaluations: The splits.
        by: Who evaluates.
    """
    try:
        content = files.read(os.path.join(model_dir, "metrics.jsonl"))
    except FileNotFoundError:
        return set()
    splits: dict[int, set[str]] = {}
    for line in content.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            # Cut short by a crash: as if it had not been evaluated.
            continue
        if entry["kind"] == "run" and entry["step"] == 0:
            # The training has begun anew.
            splits = {}
        elif entry["kind"] == "eval" and entry.get("by") == by:
            splits.setdefault(entry["step"], set()).add(entry["split"])
    wanted = {data.split for data in evaluations}
    return {step for step, done in splits.items() if done >= wanted}
