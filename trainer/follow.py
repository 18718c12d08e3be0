"""Which checkpoint of a run is evaluated next, as the trainer writes them."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

from absl import logging

from input import files
from trainer import agreement, archive, checkpoint, session, writer


@dataclasses.dataclass(frozen=True)
class Next:
    """What to do next, the same in all processes.

    Attributes:
        step: The step whose weights have been loaded; None for none.
        splits: On which these weights have not been evaluated yet.
        ended: Whether there is nothing more to come.
        problem: Where it has ended: why nothing was ever evaluated; "" where
            something was.
    """

    step: int | None
    splits: list[str] = dataclasses.field(default_factory=list)
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
        splits: On which each checkpoint is to be evaluated.
        final: On which only the last one is, once training has ended.
        known: Returns the splits on which a step has been evaluated, by step.
        latest_only: Whether to leave out all but the newest.
        check: Raises an error where the run is not the one that `parts` are
            of. Called on the chief before a checkpoint is read: a run that
            begins later is not known before.
    """

    def __init__(
        self,
        model_dir: str,
        parts: session.Session,
        splits: Sequence[str],
        known: Callable[[], dict[int, set[str]]],
        latest_only: bool,
        final: Sequence[str] = (),
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self._model_dir = model_dir
        self._parts = parts
        self._splits = splits
        self._final = final
        self._check = check
        self._known = known
        self._latest_only = latest_only
        self._checkpoints = checkpoint.of_run(model_dir)
        # What was wrong with which version of a checkpoint.
        self._damaged: dict[_Version, str] = {}
        # What has been evaluated, and on what.
        self._settled: set[tuple[_Version, tuple[str, ...]]] = set()

    def next(self, late: bool) -> Next:
        """Loads the next checkpoint, if there is one; all processes call it.

        Args:
            late: On the chief: not to wait for another.

        Raises:
            errors.CheckpointError: A disk or an object store does not answer.
            errors.ConfigError: The run is another one.
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
        for version, splits in self._waiting(ended):
            if self._load(version):
                return Next(version.step, splits)
        if late and not ended:
            logging.warning("No other checkpoint has come in time.")
        ended = ended or late
        problem = self._problem() if ended and not self._complete() else ""
        return Next(None, ended=ended, problem=problem)

    def _waiting(self, ended: bool) -> list[tuple[_Version, list[str]]]:
        """Returns checkpoints and what to evaluate them on, the next first."""
        wanted = self._wanted(ended)
        # Where nothing is new, metrics.jsonl, which grows, is not read again.
        if self._settled.issuperset(wanted):
            return []
        known = self._known()
        newest = max(self._complete(known), default=-1)
        waiting = []
        for version, splits in wanted:
            done = known.get(version.step, set())
            left = [split for split in splits if split not in done]
            if left and not (self._latest_only and version.step < newest):
                waiting.append((version, left))
            else:
                self._settled.add((version, splits))
        return waiting[::-1] if self._latest_only else waiting

    def _wanted(self, ended: bool) -> list[tuple[_Version, tuple[str, ...]]]:
        """Returns all checkpoints and what they are to be evaluated on."""
        steps = self._checkpoints.steps()
        last = steps[-1] if steps and ended else None
        return [
            (
                _Version(step, archive.version(self._checkpoints.path(step))),
                (*self._splits, *(self._final if step == last else ())),
            )
            for step in steps
        ]

    def _complete(self, known: dict[int, set[str]] | None = None) -> set[int]:
        """Returns the steps that have been evaluated on all splits."""
        known = self._known() if known is None else known
        return {s for s, done in known.items() if done.issuperset(self._splits)}

    def _load(self, version: _Version) -> bool:
        if version in self._damaged:
            return False
        self._check()
        path = self._checkpoints.path(version.step)
        try:
            arrays = archive.read(path)
        except archive.Corrupt as corrupt:
            if version.step in self._checkpoints.steps():
                logging.warning("Skipping a checkpoint: %s", corrupt)
                self._damaged[version] = str(corrupt)
            else:
                logging.info(
                    "Step %d: dropped before it was read.", version.step
                )
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


class _Version(NamedTuple):
    """A checkpoint as it was written: it may be written anew."""

    step: int
    written: str


def evaluated(model_dir: str, by: str) -> dict[int, set[str]]:
    """Returns on which splits the checkpoints of a run have been evaluated.

    Args:
        model_dir: Of the run, whose metrics.jsonl says so.
        by: Who evaluates.
    """
    splits: dict[int, set[str]] = {}
    for entry in writer.read(model_dir):
        kind, step = entry["kind"], entry["step"]
        if writer.is_new_training(entry):
            splits = {}
        elif kind == "rollback":
            # What comes after this step comes again, with other weights.
            splits = {s: d for s, d in splits.items() if s <= entry["to_step"]}
        elif kind == "eval" and entry.get("by") == by:
            splits.setdefault(step, set()).add(entry["split"])
    return splits
