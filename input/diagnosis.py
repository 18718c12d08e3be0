"""Where is the damage? Asked after reading has failed, by reading again.

TensorFlow's readers are fast because they keep no account of files and offsets,
and their errors name neither. So the files are read a second time, with the
slower reader of `input.frames`.
"""

import contextlib
import itertools
import re
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures

import numpy as np
import tensorflow as tf
from absl import logging

from input import (
    damage,
    dataset,
    errors,
    frames,
    pipeline,
    records,
    service,
)

# Long enough for some 100 GB on a good disk; what has not been looked at by
# then is said.
_SECONDS = 120.0
_THREADS = 8
_ENOUGH = 5
_OF_READING = (
    tf.errors.DataLossError,
    tf.errors.FailedPreconditionError,
    tf.errors.InvalidArgumentError,
    tf.errors.NotFoundError,
)

_Search = Callable[[dataset.Shard, str], list[damage.Damage]]


@contextlib.contextmanager
def explained(data: records.Split) -> Iterator[None]:
    """Makes an error of reading a split say where the damage is.

    Raises:
        errors.DataError: Instead of the error of the `tf.data` pipeline.
        errors.ServiceError: A data service has lost what it was doing.
    """
    try:
        yield
    except tf.errors.OpError as error:
        if service.is_lost(error):
            raise errors.ServiceError(
                "A data service was started anew in the midst of training and "
                "does not know where it was. Run the same command again: it "
                "goes on from the newest checkpoint, with the same batches."
            ) from error
        if not isinstance(error, _OF_READING) or "IteratorGetNext" not in str(
            error
        ):
            raise
        reason = re.sub(r"\s*\[*\{\{.*", "", error.message.splitlines()[0])
        raise errors.DataError(explain(data, reason)) from error


def explain(data: records.Split, reason: str, seconds: float = _SECONDS) -> str:
    """Returns a message that names the damaged files, offsets and records.

    Args:
        data: The split that could not be read.
        reason: What TensorFlow said.
        seconds: Time after which no other file is looked at.
    """
    logging.info("Reading failed (%s); looking for the damage.", reason)
    message = f"Split {data.split!r} cannot be read: {reason}."
    shards = data.source.info.shards(data.split)
    paths = data.source.paths(data.split)
    if not paths:
        return message
    deadline = time.monotonic() + seconds
    searches: tuple[_Search, ...] = (
        lambda shard, path: damage.scan(
            shard, path, lambda: time.monotonic() > deadline
        ),
        lambda shard, path: _contents(data, shard, path, deadline),
    )
    searched = 0
    for search in searches:
        found, searched = _search(search, shards, paths, deadline)
        if found:
            return (
                f"{message} Found in {_folder(paths)}:\n"
                f"{damage.listing(found)}\nCopy the files again from where "
                "they came, or convert the data set again."
                + _advice(data, search is searches[0])
            )
    return (
        f"{message} {searched} of {len(paths)} files in {_folder(paths)} were "
        f"read again in {seconds:.0f} s, and nothing was found. If all were, "
        "the disk or the network failed for a moment: start again."
    )


def _advice(data: records.Split, can_skip: bool) -> str:
    # Evaluation is exact: it cannot do without.
    if not can_skip or not isinstance(data, pipeline.TrainData):
        return ""
    return (
        ' Or train without them: train_data.on_corrupt = "skip_record" (and '
        "--allow_config_change, to go on with this run)."
    )


def _search(
    search: _Search,
    shards: Sequence[dataset.Shard],
    paths: Sequence[str],
    deadline: float,
) -> tuple[list[damage.Damage], int]:
    """Looks into files, suspects first, until enough is found.

    Returns:
        What was found, in order of file and offset, and how many files were
        looked at.
    """
    sizes = dataset.sizes(paths)
    order = sorted(
        range(len(shards)), key=lambda i: (sizes[i] == shards[i].bytes, i)
    )
    found: list[damage.Damage] = []
    searched = 0
    with futures.ThreadPoolExecutor(_THREADS) as pool:
        for batch in itertools.zip_longest(*[iter(order)] * _THREADS):
            if time.monotonic() > deadline or len(found) >= _ENOUGH:
                break
            numbers = [i for i in batch if i is not None]
            for damages in pool.map(
                lambda i: search(shards[i], paths[i]), numbers
            ):
                found += damages
            searched += len(numbers)
    return sorted(found), searched


def _contents(
    data: records.Split, shard: dataset.Shard, path: str, deadline: float
) -> list[damage.Damage]:
    """Returns the records of a file that are whole but cannot be used."""
    found: list[damage.Damage] = []
    offset = 0
    for _ in range(shard.examples):
        if time.monotonic() > deadline:
            break
        stretch = frames.read(path, size=shard.bytes, offset=offset, count=1)
        if stretch.problem:
            break
        reason = _unusable(data, stretch.frames[0].record or b"")
        if reason:
            found.append(damage.Damage(shard.file, offset, 1, reason))
        offset = stretch.end
    return found


def _unusable(data: records.Split, record: bytes) -> str:
    """Returns why an example cannot be made from a record, or ""."""
    channels = data.image_shape[2]

    def read_image(encoded: tf.Tensor) -> tf.Tensor:
        # In full: whether a random crop meets the damage depends on its seed.
        tf.io.decode_image(encoded, channels, expand_animations=False)
        return data.decode(encoded, tf.constant([0, 0]), data.image_shape)

    try:
        _, label = data.source.parse(
            tf.constant(record), read_image, data.image_shape
        )
    except (tf.errors.OpError, ValueError) as error:
        return "no example can be made of it: " + str(error).splitlines()[0]
    wrong = (
        data.source.fields.wrong_label(each, data.source.info.num_classes)
        for each in np.atleast_1d(label.numpy()).tolist()
    )
    return next(filter(None, wrong), "")


def _folder(paths: Sequence[str]) -> str:
    return paths[0].rpartition("/")[0] or "."
