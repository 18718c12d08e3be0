"""How many records TFRecord files hold, where nobody has written it down.

The files are scanned once, by the lengths of their records; what was found is
kept beside them, or in the user's cache where that folder cannot be written,
and holds for a file as long as its size and time of change do.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent import futures
from typing import Any

import tensorflow as tf
from absl import logging

from input import dataset, errors, files, frames, gcs
from input.progress import progress

FILE_NAME = ".lockstep_index.json"
_VERSION = 1
# A scan waits for the disk: more threads than cores.
_THREADS = 16


@dataclasses.dataclass(frozen=True)
class Indexed:
    """What a scan has found in a file.

    Attributes:
        bytes: Size of the file.
        changed: Time of its last change, nanoseconds since 1970; 0 on gs://.
        extent: How far its records go.
    """

    bytes: int
    changed: int
    extent: frames.Extent


def index(directory: str, names: Sequence[str]) -> dict[str, Indexed]:
    """Returns what files hold, scanning those that are new or have changed.

    Args:
        directory: The folder; may be on gs://.
        names: Of files in it.

    Raises:
        errors.DataError: A file is missing or cannot be read.
    """
    now = {name: _state(directory, name) for name in names}
    if gcs.is_remote(directory):
        sizes = gcs.sizes(directory)
        now = {name: (sizes[name], 0) for name in names}
    places = _places(directory)
    known = _load(places)
    found = {
        name: known[name]
        for name, (size, changed) in now.items()
        if name in known
        and (known[name].bytes, known[name].changed) == (size, changed)
    }
    unknown = [name for name in names if name not in found]
    if unknown:
        logging.info(
            "Counting the records of %d files in %s, once.",
            len(unknown),
            directory,
        )
        found |= _scan(directory, {name: now[name] for name in unknown})
        _save(places, found)
    return {name: found[name] for name in names}


def _scan(
    directory: str, states: Mapping[str, tuple[int, int]]
) -> dict[str, Indexed]:
    with (
        progress(len(states), "files") as advance,
        futures.ThreadPoolExecutor(_THREADS) as pool,
    ):

        def scan(name: str) -> Indexed:
            size, changed = states[name]
            path = os.path.join(directory, name)
            try:
                extent = frames.count(path, size=size)
            except (OSError, tf.errors.OpError) as e:
                raise _unreadable(path, e) from e
            advance()
            return Indexed(size, changed, extent)

        return dict(zip(states, pool.map(scan, states), strict=True))


def _state(directory: str, name: str) -> tuple[int, int]:
    """Returns size and time of change of a local file; zeros on gs://."""
    if gcs.is_remote(directory):
        return 0, 0
    path = os.path.join(directory, name)
    try:
        status = os.stat(path)
    except OSError as e:
        raise _unreadable(path, e) from e
    return status.st_size, status.st_mtime_ns


def _unreadable(path: str, error: Exception) -> errors.DataError:
    reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
    return errors.DataError(
        f"{path}: cannot be read ({reason}). Check the disk and the "
        "permissions, or copy the file again."
    )


def _places(directory: str) -> list[str]:
    """Returns where the index may be: beside the data, then in the cache."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    real = directory
    if not gcs.is_remote(directory):
        real = os.path.realpath(directory)
    key = hashlib.sha256(real.encode("utf-8", "surrogateescape")).hexdigest()
    return [
        os.path.join(directory, FILE_NAME),
        os.path.join(cache, "lockstep", f"index-{key[:32]}.json"),
    ]


def _load(places: Sequence[str]) -> dict[str, Indexed]:
    """Returns all that is known; where two places know a file, the first."""
    found: dict[str, Indexed] = {}
    for place in reversed(places):
        try:
            content = json.loads(files.read(place))
            if content["version"] == _VERSION:
                found |= _from_json(content["files"])
        except OSError:
            continue
        except (ValueError, KeyError, TypeError, AttributeError):
            logging.warning("%s is damaged; it will be made again.", place)
    return found


def _from_json(content: Mapping[str, Any]) -> dict[str, Indexed]:
    return {
        name: Indexed(
            int(entry["bytes"]),
            int(entry["changed"]),
            frames.Extent(
                int(entry["records"]), int(entry["end"]), str(entry["problem"])
            ),
        )
        for name, entry in content.items()
    }


def _save(places: Sequence[str], found: Mapping[str, Indexed]) -> None:
    content = {
        "version": _VERSION,
        "files": {
            name: {
                "bytes": entry.bytes,
                "changed": entry.changed,
                "records": entry.extent.frames,
                "end": entry.extent.end,
                "problem": entry.extent.problem,
            }
            for name, entry in sorted(found.items())
        },
    }
    data = json.dumps(content, indent=1).encode()
    if not _written(places, lambda place: files.write_atomically(place, data)):
        logging.warning(
            "The index of the records can be written neither to %s nor to %s: "
            "the files are scanned again at each start.",
            *places,
        )


def _written(places: Sequence[str], write: Callable[[str], None]) -> bool:
    for place in places:
        try:
            write(place)
        except (OSError, tf.errors.OpError) as e:
            logging.info("%s cannot be written: %s", place, e)
        else:
            return True
    return False


def shard(name: str, entry: Indexed) -> dataset.Shard:
    """Describes a file as dataset.json would.

    Behind a damaged length nobody can count: there, as many records are
    assumed as would fit at the mean size of those before, at least one.
    """
    records = entry.extent.frames
    if entry.extent.problem:
        rest = entry.bytes - entry.extent.end
        mean = entry.extent.end // records if records else entry.bytes
        records += max(1, round(rest / max(mean, 1)))
    return dataset.Shard(file=name, examples=records, bytes=entry.bytes)
