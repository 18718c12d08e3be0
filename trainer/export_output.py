"""The folder that an export goes to: whole artefacts, or nothing.

Everything is made in a temporary folder beside its place and moved over when it
has passed. A SavedModel appears by one rename, as servers that watch the folder
need; on gs://, which has none, its graph is uploaded last, without which no
server takes a version. export.json comes last of all.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from input import files, gcs
from trainer import artefacts, errors

SUMMARY = "export.json"
_PREFIX = ".export-"
_DAY = 24 * 3600
_LAST = "saved_model.pb"


class Staging:
    """An export on its way.

    Args:
        output: Where it goes.
        folder: Where it is made: an empty local folder.

    Attributes:
        summary: The content of export.json, once committed.
    """

    def __init__(self, output: str, folder: str) -> None:
        self._output = output
        self._made = os.path.join(folder, "made")
        self.scratch = os.path.join(folder, "scratch")
        self.summary = b""
        for path in (self._made, self.scratch):
            os.mkdir(path)

    def path(self, place: str) -> str:
        """Returns where to write what will be at a place of the output."""
        return os.path.join(self._made, place)

    def next_version(self, name: str) -> int:
        """Returns a version above all that the SavedModel of a name has."""
        folder = os.path.join(self._output, "saved_model", name)
        return max(artefacts.versions_of(folder), default=0) + 1

    def commit(self, places: Sequence[str], summary: Mapping[str, Any]) -> None:
        """Moves artefacts to their places, then writes export.json.

        Raises:
            errors.OutputError: The disk or the object store fails.
        """
        text = json.dumps(summary, indent=1, ensure_ascii=False)
        self.summary = text.encode()
        with errors.writing(self._output):
            for place in places:
                if gcs.is_remote(self._output):
                    self._upload(place)
                else:
                    self._move(place)
            files.write_atomically(
                os.path.join(self._output, SUMMARY), self.summary
            )

    def _move(self, place: str) -> None:
        to = os.path.join(self._output, place)
        os.makedirs(os.path.dirname(to), exist_ok=True)
        for folder, _, names in os.walk(self.path(place)):
            for name in names:
                files.sync(os.path.join(folder, name))
        files.sync(self.path(place))
        # Of a file, over an older one; a version is new.
        os.replace(self.path(place), to)
        files.sync(os.path.dirname(to))

    def _upload(self, place: str) -> None:
        source = self.path(place)
        if os.path.isfile(source):
            _send(source, f"{self._output}/{place}")
            return
        names = [
            os.path.relpath(os.path.join(folder, name), source)
            for folder, _, found in os.walk(source)
            for name in found
        ]
        for name in sorted(names, key=lambda name: name == _LAST):
            _send(os.path.join(source, name), f"{self._output}/{place}/{name}")


def _send(path: str, to: str) -> None:
    with open(path, "rb") as file:
        gcs.write(to, file.read())


@contextlib.contextmanager
def staged(output: str) -> Iterator[Staging]:
    """Yields a place to make an export in, which is gone afterwards.

    Args:
        output: A local folder, made if missing, or one on gs://. Where the
            block raises, folders that were made are removed.

    Raises:
        errors.ConfigError: Nothing can be written there.
    """
    if gcs.is_remote(output):
        with tempfile.TemporaryDirectory(prefix="lockstep-export-") as folder:
            yield Staging(output, folder)
        return
    made = _missing(output)
    try:
        try:
            os.makedirs(output, exist_ok=True)
            _remove_leftovers(output)
            folder = tempfile.mkdtemp(prefix=_PREFIX, dir=output)
        except OSError as error:
            raise errors.ConfigError(
                f"--output={output} cannot be written to: {error.strerror}. "
                "Name a folder of yours."
            ) from error
        try:
            yield Staging(output, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    except BaseException:
        for path in made:
            with contextlib.suppress(OSError):
                os.rmdir(path)
        raise


def _remove_leftovers(output: str) -> None:
    """Removes what exports that were killed have left, a day ago or more."""
    with os.scandir(output) as entries:
        for entry in entries:
            if entry.name.startswith(_PREFIX) and entry.is_dir():
                # Another may be faster.
                with contextlib.suppress(FileNotFoundError):
                    if time.time() - entry.stat().st_mtime > _DAY:
                        shutil.rmtree(entry.path, ignore_errors=True)


def _missing(path: str) -> list[str]:
    """Returns the folders to be made for a path to exist, innermost first."""
    path, missing = os.path.abspath(path), []
    while not os.path.lexists(path):
        missing.append(path)
        path = os.path.dirname(path)
    return missing


def note(model_dir: str, summary: bytes) -> None:
    """Keeps export.json beside the evaluations of a run, for its report.

    Raises:
        errors.OutputError: The disk fails.
    """
    path = os.path.join(model_dir, "evaluation", SUMMARY)
    with errors.writing(path):
        files.write_atomically(path, summary)
