"""Conversions from and to gs://, by way of a folder on the local disk.

A data set is complete where its dataset.json is: it is uploaded last, and
removed first.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator

from absl import logging

from input import dataset, gcs, staging
from input.errors import DataError, UsageError


@contextlib.contextmanager
def fetched(directory: str) -> Iterator[str]:
    """Yields a local folder with all that a folder on gs:// holds.

    A DataError in the block comes out with the names that the user knows.

    Args:
        directory: On gs://; a local folder is yielded as it is.

    Raises:
        UsageError: There is nothing in it, it cannot be read, or the local
            disk is too small.
    """
    if not gcs.is_remote(directory):
        yield directory
        return
    with tempfile.TemporaryDirectory(prefix="lockstep-input-") as local:
        try:
            _fetch(directory, local)
        except gcs.StorageError as e:
            raise UsageError(f"--input: {e}") from e
        try:
            yield local
        except DataError as e:
            raise DataError(str(e).replace(local, directory)) from e


def _fetch(directory: str, local: str) -> None:
    sizes = gcs.sizes(directory)
    if not sizes:
        raise UsageError(
            f"--input={directory}: not found, or empty. Give a folder that "
            "holds something."
        )
    for name in sizes:
        if not {"", ".", ".."}.isdisjoint(name.split("/")):
            raise UsageError(
                f"--input={directory}: the object {name!r} has a name that no "
                "file can have. Rename it."
            )
    total, free = sum(sizes.values()), shutil.disk_usage(local).free
    if total > free:
        raise UsageError(
            f"--input={directory} takes {total / 1e9:.1f} GB, but the disk of "
            f"{local} has {free / 1e9:.1f} GB free. Make room, or name a "
            "folder elsewhere in the environment variable TMPDIR."
        )
    logging.info(
        "Downloading %s objects, %.1f MB, of %s.",
        f"{len(sizes):,}",
        total / 1e6,
        directory,
    )
    gcs.download(directory, list(sizes), local)


@contextlib.contextmanager
def published(output: str, *, overwrite: bool) -> Iterator[str]:
    """Yields an empty local folder that becomes `output` when the block ends.

    Nothing on gs:// is touched before; an existing data set is then away until
    the new one is complete. Objects in `output` that are not of a data set
    stay.

    Args:
        output: A folder on gs://.
        overwrite: Whether it may hold something.

    Raises:
        UsageError: It holds something and may not, or cannot be written.
    """
    try:
        _check_free(output, overwrite)
    except gcs.StorageError as e:
        raise UsageError(f"--output: {e}") from e
    with tempfile.TemporaryDirectory(prefix="lockstep-output-") as place:
        yield place
        existing = _check_free(output, overwrite)
        try:
            _replace(output, existing, place)
        except gcs.ChangedError as e:
            raise UsageError(
                f"--output={output}: another conversion writes there at the "
                "same time. Let one of them end, and repeat the other with "
                "--overwrite."
            ) from e


def _check_free(output: str, overwrite: bool) -> list[str]:
    """Returns the names of the objects of the data set that is there."""
    found = gcs.sizes(output)
    existing = [name for name in found if staging.is_of_dataset(name)]
    if found and not overwrite:
        half = ""
        if existing and dataset.FILE_NAME not in existing:
            half = (
                f" It has shards but no {dataset.FILE_NAME}: an upload was "
                "killed, or is under way."
            )
        raise UsageError(
            f"--output={output} is not empty.{half} Give another folder, or "
            "--overwrite to replace it."
        )
    return existing


def _replace(output: str, existing: list[str], place: str) -> None:
    """Removes a data set, and uploads another in its place.

    Raises:
        gcs.ChangedError: Somebody else uploads one.
    """

    def remove(name: str) -> None:
        gcs.remove(f"{output}/{name}")

    shards = sorted(n for n in os.listdir(place) if n != dataset.FILE_NAME)
    logging.info("Uploading %d shards to %s.", len(shards), output)
    if dataset.FILE_NAME in existing:
        remove(dataset.FILE_NAME)
    gcs.in_parallel(remove, [n for n in existing if n != dataset.FILE_NAME])
    try:
        gcs.upload(place, shards, output)
        gcs.upload(place, [dataset.FILE_NAME], output)
    except gcs.ChangedError:
        raise  # What is there is another's.
    except BaseException:
        with contextlib.suppress(gcs.StorageError):
            gcs.in_parallel(remove, shards)
        raise
