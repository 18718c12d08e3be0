"""The checkpoints of a run: written in order, dropped by rule, read back."""

import dataclasses
import os
import re
from collections.abc import Iterable, Mapping

import numpy as np
import tensorflow as tf
from absl import logging

from input import files, gcs
from trainer import archive, errors

_TEMPORARY = ".tmp"
_NAME = re.compile(r"step-(\d{9,})")


@dataclasses.dataclass(frozen=True)
class Retention:
    """Which checkpoints stay.

    Attributes:
        newest: How many of the newest, at least 1.
        every: Besides, the first one at or after each multiple of so many
            steps; None for none.
    """

    newest: int = 3
    every: int | None = None

    def kept(self, steps: Iterable[int]) -> set[int]:
        """Returns the steps whose checkpoints stay."""
        rising = sorted(steps)
        stay = set(rising[-self.newest :])
        if self.every is not None:
            first: dict[int, int] = {}
            for step in rising:
                first.setdefault(step // self.every, step)
            stay |= {step for period, step in first.items() if period}
        return stay


@dataclasses.dataclass(frozen=True)
class Checkpoints:
    """A folder of checkpoints, which one process writes.

    Attributes:
        directory: Such as model_dir/checkpoints; made when first written to.
        retention: Which ones stay when another is written.
        writer: Keeps the temporary names of several writers apart.
    """

    directory: str
    retention: Retention = Retention()
    writer: str = ""

    def steps(self) -> list[int]:
        """Returns the steps of all committed checkpoints, rising.

        Raises:
            gcs.StorageError: An object store does not answer.
        """
        if gcs.is_remote(self.directory):
            return self._remote_steps(archive.MANIFEST)
        if not os.path.isdir(self.directory):
            return []
        with os.scandir(self.directory) as entries:
            names = [entry.name for entry in entries if entry.is_dir()]
        matches = map(_NAME.fullmatch, names)
        return sorted(int(match.group(1)) for match in matches if match)

    def _remote_steps(self, file: str) -> list[int]:
        """Returns the steps of the folders that hold a file."""
        names = gcs.sizes(self.directory)
        matches = (
            _NAME.fullmatch(os.path.dirname(name))
            for name in names
            if os.path.basename(name) == file
        )
        return sorted(int(match.group(1)) for match in matches if match)

    def path(self, step: int) -> str:
        """Returns the folder of the checkpoint of a step."""
        return os.path.join(self.directory, f"step-{step:09d}")

    def save(
        self,
        step: int,
        arrays: archive.Arrays,
        metrics: Mapping[str, float] | None = None,
        replace: bool = False,
    ) -> None:
        """Writes and commits a checkpoint, then drops those that do not stay.

        Args:
            step: Steps taken.
            arrays: By variable name.
            metrics: What is known of the weights.
            replace: Whether to write where the step has one already that
                verifies; otherwise nothing is written then.

        Raises:
            errors.CheckpointError: It cannot be written; the others are as
                they were.
        """
        try:
            if replace or not self._has(step):
                self._drop_half_written()
                archive.write(
                    self.path(step),
                    self._temporary(step),
                    step,
                    arrays,
                    metrics or {},
                )
            # After a return to an earlier step it may not be the newest.
            self.retain(self.retention.kept(self.steps()) | {step})
        except (tf.errors.AlreadyExistsError, gcs.ChangedError) as error:
            # Another writer was faster.
            if not self._has(step):
                raise self._failed(step, error) from error
        except (OSError, tf.errors.OpError) as error:
            raise self._failed(step, error) from error

    def retain(self, stay: Iterable[int]) -> None:
        """Drops all checkpoints but those of the steps given.

        Raises:
            errors.CheckpointError: One cannot be removed.
        """
        try:
            for step in set(self.steps()) - set(stay):
                archive.remove(self.path(step), self._temporary(step))
        except (OSError, tf.errors.OpError) as error:
            raise errors.CheckpointError(
                f"Old checkpoints in {self.directory} cannot be removed: "
                f"{errors.reason(error)}. Mend the disk or its permissions, "
                "then run the same command again."
            ) from error

    def _temporary(self, step: int) -> str:
        return f"{self.path(step)}{self.writer}{_TEMPORARY}"

    def _has(self, step: int) -> bool:
        """Returns whether a step has a checkpoint that verifies."""
        if step not in self.steps():
            return False
        try:
            archive.read(self.path(step))
            return True
        except archive.Corrupt as corrupt:
            logging.warning("Replacing a checkpoint: %s", corrupt)
            return False

    def _drop_half_written(self) -> None:
        """Removes what this writer has left when it was killed."""
        if gcs.is_remote(self.directory):
            # Several writers of one folder cannot be told apart there.
            if not self.writer:
                half = set(self._remote_steps(archive.ARRAYS))
                for step in half - set(self.steps()):
                    archive.remove(self.path(step), "")
            return
        if not os.path.isdir(self.directory):
            tf.io.gfile.makedirs(self.directory)
            files.sync(os.path.dirname(self.directory))
        for name in os.listdir(self.directory):
            stem, found, rest = name.partition(self.writer + _TEMPORARY)
            if found and rest in ("", ".old") and _NAME.fullmatch(stem):
                tf.io.gfile.rmtree(os.path.join(self.directory, name))

    def _failed(self, step: int, error: Exception) -> errors.CheckpointError:
        """Returns what to tell of a failed save; clears up if it can."""
        try:
            self._drop_half_written()
            good = self.steps()[-1:]
        except (OSError, tf.errors.OpError):
            good = []
        left = f"That of step {good[0]} is still good. " if good else ""
        return errors.CheckpointError(
            f"The checkpoint of step {step} cannot be written to "
            f"{self.directory}: {errors.reason(error)}. {left}Make room or "
            "mend the disk, then run the same command again."
        )

    def read_newest(self) -> tuple[int, dict[str, np.ndarray]] | None:
        """Returns step and arrays of the newest checkpoint that verifies.

        It says which ones it has skipped, and why. None where there is no
        checkpoint at all.

        Raises:
            errors.ConfigError: There are some, but none verifies.
            errors.CheckpointError: A disk or an object store does not answer.
        """
        problems = []
        # One that is replaced while it is read makes another look worthwhile.
        tried: set[int] = set()
        while left := [s for s in self.steps() if s not in tried]:
            step = left[-1]
            tried.add(step)
            try:
                return step, archive.read(self.path(step))
            except archive.Corrupt as corrupt:
                if step in self.steps():
                    logging.warning("Skipping a checkpoint: %s", corrupt)
                    problems.append(str(corrupt))
        if problems:
            raise errors.ConfigError(
                f"No checkpoint in {self.directory} can be read, and training "
                "will not silently start again from zero: "
                f"{'; '.join(problems)}. Restore one from a backup, or remove "
                "the directory to start anew."
            )
        return None

    def restore_newest(
        self, variables: Mapping[str, tf.Variable]
    ) -> int | None:
        """Sets variables to the newest checkpoint that verifies.

        Newer ones are set aside: as the newest of all they would be kept
        for longer than those that verify.

        Args:
            variables: By name; all of them must be in the checkpoint.

        Returns:
            Its step, or None where there is no checkpoint at all.

        Raises:
            errors.ConfigError: None verifies, or the variables are others.
            errors.CheckpointError: A disk or an object store does not answer.
        """
        found = self.read_newest()
        if found is None:
            return None
        step, arrays = found
        archive.assign(variables, arrays, self.path(step))
        for newer in self.steps():
            if newer > step:
                self._set_aside(newer)
        return step

    def _set_aside(self, step: int) -> None:
        try:
            to = archive.set_aside(self.path(step))
        except (OSError, tf.errors.OpError) as error:
            raise errors.CheckpointError(
                f"{self.path(step)} is damaged and cannot be set aside: "
                f"{errors.reason(error)}. Mend the disk or its permissions, "
                "then run the same command again."
            ) from error
        logging.warning("What can be read of step %d is in %s.", step, to)


def of_run(model_dir: str, retention: Retention = Retention()) -> Checkpoints:
    """Returns the checkpoints of a run."""
    return Checkpoints(os.path.join(model_dir, "checkpoints"), retention)
