"""Which checkpoint of a run is evaluated next, as the trainer writes them."""

import dataclasses
import json
import os
from collections.abc import Callable, Sequence

import tensorflow as tf
from absl import logging

from input import files, pipeline
from trainer import agreement, archive, checkpoint, session


@dataclasses.dataclass(frozen=True)
class Next:
    """What to do next, the same in all processes.

    Attributes:
        step: The step whose weights have been loaded; None for none.
        ended: Whether there is nothing more to come.
        problem: Where it has ended: why nothing was ever evaluated; "" where
            something was.
    """

    step: int | None
    ended: bool = False
    problem: str = ""


class Follower:
    """Loads the checkpoints of a run, one after the other.

    A checkpoint that the trainer drops while it is read is left out; a damaged
    one is said, and looked at again when it has been written anew. The chief
    reads; the others need not see its disk.

    Args:
        model_dir: Of the run; may not be there yet.
        parts: Take the weights.
        known: Returns the steps that have been evaluated.
        latest_only: Whether to leave out all but the newest.
    """

    def __init__(
        self,
        model_dir: str,
        parts: session.Session,
        known: Callable[[], set[int]],
        latest_only: bool,
    ) -> None:
        self._model_dir = model_dir
        self._parts = parts
        self._known = known
        self._latest_only = latest_only
        self._checkpoints = checkpoint.of_run(model_dir)
        # What was wrong with which version of a checkpoint.
        self._damaged: dict[tuple[int, int], str] = {}

    def next(self, late: bool) -> Next:
        """Loads the next checkpoint, if there is one; all processes call it.

        Args:
            late: On the chief: not to wait for another.

        Raises:
            errors.CheckpointError: An object store does not answer.
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
        ended = files.exists(os.path.join(self._model_dir, "DONE"))
        known = self._known()
        for step in self._waiting(known):
            if self._load(step):
                return Next(step)
        if late and not ended:
            logging.warning("No other checkpoint has come in time.")
        problem = "" if known else self._problem()
        return Next(None, ended or late, problem)

    def _waiting(self, known: set[int]) -> list[int]:
        """Returns the steps to evaluate, the next one first."""
        steps = [s for s in self._checkpoints.steps() if s not in known]
        if self._latest_only:
            newest = max(known, default=-1)
            return [step for step in reversed(steps) if step > newest]
        return steps

    def _load(self, step: int) -> bool:
        path = self._checkpoints.path(step)
        version = (step, _version(path))
        if version in self._damaged:
            return False
        try:
            arrays = archive.read(path)
        except archive.Corrupt as corrupt:
            if step in self._checkpoints.steps():
                logging.warning("Skipping a checkpoint: %s", corrupt)
                self._damaged[version] = str(corrupt)
            else:
                logging.info("Step %d: dropped before it was read.", step)
            return False
        archive.assign(self._parts.state.variables(), arrays, path)
        return True

    def _problem(self) -> str:
        if self._damaged:
            return (
                f"No checkpoint of --model_dir={self._model_dir} can be read: "
                f"{'; '.join(self._damaged.values())}. Restore one from a "
                "backup, or train on until the next."
            )
        return (
            f"--model_dir={self._model_dir} has no checkpoint to evaluate. "
            "Train there first, or name the directory of another run."
        )


def _version(path: str) -> int:
    """Returns a number that changes when a checkpoint is written anew."""
    try:
        return tf.io.gfile.stat(path).mtime_nsec
    except tf.errors.OpError:
        return 0


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
            kind, step = entry["kind"], entry["step"]
        except (ValueError, KeyError, TypeError):
            # Cut short by a crash: as if it had not been evaluated.
            continue
        if kind == "run" and step == 0:
            # The training has begun anew.
            splits = {}
        elif kind == "eval" and entry.get("by") == by:
            splits.setdefault(step, set()).add(entry["split"])
    wanted = {data.split for data in evaluations}
    return {step for step, done in splits.items() if done >= wanted}
