"""Objects on gs://, where tf.io.gfile is not enough.

gfile serves what is written once and read whole. It has no preconditions, asks
for one object at a time, and remembers sizes for five seconds, so that an
object that another process has replaced is read cut short. What several
processes write, what decides between them, and what comes in numbers goes
through google-cloud-storage here, which is imported at first use.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import mimetypes
import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from typing import Any

_SCHEME = "gs://"
# A request takes about 50 ms whatever its size. The client keeps 10
# connections open.
_THREADS = 10
# Together about half a minute: an object may be replaced once a second.
_APPEND_ATTEMPTS = 20
_LONGEST_WAIT_SECONDS = 2.0


class StorageError(OSError):
    """The storage refuses or cannot be reached; says what to do."""


class ChangedError(Exception):
    """The object has another generation than the caller knows."""


@dataclasses.dataclass(frozen=True)
class Object:
    """A version of an object.

    Attributes:
        content: All of it.
        generation: Its number; 0 stands for "there is no such object".
    """

    content: bytes
    generation: int


def is_remote(path: str) -> bool:
    """Returns whether a path is on gs://."""
    return path.startswith(_SCHEME)


def read(path: str) -> Object:
    """Returns the newest version of an object.

    Raises:
        FileNotFoundError: There is no such object.
        StorageError: It cannot be read, or there is no such bucket.
    """
    bucket, name = _split(path)
    with _explained(path):
        while True:
            blob = _client().bucket(bucket).get_blob(name)
            if blob is None:
                _require_bucket(bucket)
                raise FileNotFoundError(f"{path}: no such object")
            # The download asks for this generation, and may forget it.
            generation = int(blob.generation)
            content = _or_none(blob.download_as_bytes)
            # None: replaced between the two requests.
            if content is not None:
                return Object(content, generation)


def exists(path: str) -> bool:
    """Returns whether there is an object of exactly this name.

    Raises:
        StorageError: There is no such bucket, or it does not say.
    """
    bucket, name = _split(path)
    with _explained(path):
        found = bool(_client().bucket(bucket).blob(name).exists())
        if not found:
            _require_bucket(bucket)
        return found


def write(path: str, content: bytes, generation: int | None = None) -> int:
    """Writes an object, which readers see whole or not at all.

    Args:
        path: Of the object.
        content: All of it.
        generation: What it must be a successor of; None replaces any version,
            0 asks for there being none.

    Returns:
        The new generation.

    Raises:
        ChangedError: It has another generation.
        StorageError: It cannot be written.
    """
    bucket, name = _split(path)
    with _explained(path):
        blob = _client().bucket(bucket).blob(name)
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        blob.upload_from_string(content, kind, if_generation_match=generation)
        return int(blob.generation)


def append(path: str, content: bytes) -> None:
    """Adds to the end of an object, whoever else does so; made if missing.

    Reads all, writes all, and does it again where another was faster: for
    small objects, seldom.

    Raises:
        StorageError: It cannot be written, or others are always faster.
    """
    known = 0
    for attempt in range(_APPEND_ATTEMPTS):
        try:
            before = read(path)
        except FileNotFoundError:
            before = Object(b"", 0)
        # A write whose answer was lost is repeated by the client, and then
        # refused because of itself.
        if attempt and content in before.content[known:]:
            return
        known = len(before.content)
        try:
            write(path, before.content + content, before.generation)
            return
        except ChangedError:
            longest = min(0.05 * 2**attempt, _LONGEST_WAIT_SECONDS)
            time.sleep(random.uniform(0, longest))
    raise StorageError(
        f"{path}: others have changed it between reading and writing "
        f"{_APPEND_ATTEMPTS} times. Do not let more than a few processes write "
        "to one directory."
    )


def remove(path: str, generation: int | None = None) -> None:
    """Removes an object; where it is missing, nothing is done.

    Raises:
        ChangedError: It has another generation than the one given.
        StorageError: It cannot be removed.
    """
    bucket, name = _split(path)
    with _explained(path):
        blob = _client().bucket(bucket).blob(name)
        _or_none(lambda: blob.delete(if_generation_match=generation))


def sizes(folder: str) -> dict[str, int]:
    """Returns the bytes of all objects below a folder, by their names in it.

    A thousand objects take one request. The empty objects `FOLDER/` that
    TensorFlow and other tools make are left out.

    Raises:
        StorageError: There is no such bucket, or it cannot be listed.
    """
    return {name: int(blob.size) for name, blob in _listing(folder).items()}


def generations(folder: str) -> dict[str, int]:
    """Returns the versions of all objects below a folder, as `sizes` does.

    Raises:
        StorageError: There is no such bucket, or it cannot be listed.
    """
    listing = _listing(folder)
    return {name: int(blob.generation) for name, blob in listing.items()}


def _listing(folder: str) -> dict[str, Any]:
    """Returns the client's blobs below a folder, by their names in it."""
    bucket, name = _split(folder.rstrip("/") + "/")
    with _explained(folder):
        found = _client().list_blobs(bucket, prefix=name)
        return {
            blob.name[len(name) :]: blob
            for blob in found
            if not blob.name.endswith("/")
        }


def upload(folder: str, names: Sequence[str], to: str) -> None:
    """Uploads files side by side, as objects that must be new.

    Args:
        folder: A local folder.
        names: Of files in it.
        to: The folder on gs://.

    Raises:
        ChangedError: One of the objects exists.
        StorageError: One cannot be written.
    """
    bucket, prefix = _split(to.rstrip("/") + "/")

    def send(name: str) -> None:
        with _explained(f"{to}/{name}"):
            _client().bucket(bucket).blob(prefix + name).upload_from_filename(
                os.path.join(folder, name), if_generation_match=0
            )

    in_parallel(send, names)


def download(folder: str, names: Sequence[str], to: str) -> None:
    """Downloads objects side by side, below a local folder.

    Raises:
        StorageError: One cannot be read.
    """
    bucket, prefix = _split(folder.rstrip("/") + "/")

    def fetch(name: str) -> None:
        path = os.path.join(to, *name.split("/"))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with _explained(f"{folder}/{name}"):
            blob = _client().bucket(bucket).blob(prefix + name)
            blob.download_to_filename(path)

    in_parallel(fetch, names)


def in_parallel(function: Callable[[str], None], names: Sequence[str]) -> None:
    """Calls a function with each name, several at a time.

    Raises:
        Exception: What the first call that fails raises; calls that have not
            begun are left out.
    """
    with futures.ThreadPoolExecutor(_THREADS) as pool:
        try:
            tasks = [pool.submit(function, name) for name in names]
            for task in futures.as_completed(tasks):
                task.result()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _split(path: str) -> tuple[str, str]:
    """Returns the bucket and the name of an object."""
    bucket, _, name = path.removeprefix(_SCHEME).partition("/")
    if not bucket or not name.strip("/"):
        raise StorageError(
            f"{path}: a path on gs:// needs a bucket and a name in it, such as "
            "gs://BUCKET/runs/first."
        )
    return bucket, name


@functools.cache
def _client() -> Any:
    from google.cloud import storage

    # Objects need no project, and credentials do not always name one.
    return storage.Client(project=None)


def _require_bucket(bucket: str) -> None:
    """Raises NotFound where an object is missing because its bucket is."""
    next(iter(_client().list_blobs(bucket, max_results=1)), None)


def _or_none(function: Callable[[], Any]) -> Any:
    """Returns what a request returns, or None where the object is missing."""
    from google.api_core import exceptions

    try:
        return function()
    except exceptions.NotFound:
        return None


@contextlib.contextmanager
def _explained(path: str) -> Iterator[None]:
    """Turns the client's errors into ours, with the name and what to do."""
    import requests
    from google.api_core import exceptions
    from google.auth import exceptions as auth

    bucket = path.removeprefix(_SCHEME).partition("/")[0]
    try:
        yield
    except exceptions.PreconditionFailed as error:
        raise ChangedError(path) from error
    except (auth.GoogleAuthError, exceptions.Unauthorized) as error:
        raise StorageError(
            f"{path}: Google Cloud does not know who asks ({_reason(error)}). "
            "Run `gcloud auth application-default login`, set "
            "GOOGLE_APPLICATION_CREDENTIALS to the key file of a service "
            "account, or run on a machine that has a service account."
        ) from error
    except exceptions.Forbidden as error:
        raise StorageError(
            f"{path}: access denied ({_reason(error)}). Give the account the "
            f"role roles/storage.objectAdmin on the bucket {bucket!r}."
        ) from error
    except exceptions.NotFound as error:
        raise StorageError(
            f"{path}: there is no bucket {bucket!r}. Check the name, or make "
            f"it: gcloud storage buckets create {_SCHEME}{bucket}"
        ) from error
    except (exceptions.GoogleAPIError, requests.RequestException) as error:
        raise StorageError(
            f"{path}: the storage cannot be reached ({_reason(error)}). Check "
            "the network, and try again."
        ) from error


def _reason(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
