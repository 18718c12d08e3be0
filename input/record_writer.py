"""Writes the shards of a converted data set, several at a time.

A JPEG of 500x375 takes 3.0 ms of a core: 1.6 to decode, 0.5 for statistics, the
rest to read, write and checksum. Measured on 2 cores, with other work running:
one thread 338 images a second, two threads 468. Nearly all of it is C++ without
Python's lock. Two processes were 1.2 times as fast as two threads, but each
imports TensorFlow anew (6 seconds, 650 MB).
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent import futures
from typing import NamedTuple

import tensorflow as tf

from input import slice_columns as columns
from input import transcode
from input.convert_sources import Picture
from input.dataset import Shard
from input.image_check import UnreadableImageError
from input.tally import Tally


@dataclasses.dataclass(frozen=True)
class ShardPlan:
    """What goes into one shard.

    Attributes:
        split: The split it belongs to.
        file: Name of the file.
        pictures: What it holds, in order.
        counts_pixels: Whether the data set's mean and deviation are of it.
    """

    split: str
    file: str
    pictures: Sequence[Picture]
    counts_pixels: bool


class Change(NamedTuple):
    """How much was stored otherwise than found.

    Attributes:
        images: How many.
        before: Bytes of the files as found.
        after: Bytes of what was stored in their place.
    """

    images: int = 0
    before: int = 0
    after: int = 0

    def plus(self, other: Change) -> Change:
        """Returns the sum of both."""
        return Change(*map(sum, zip(self, other, strict=True)))


@dataclasses.dataclass(frozen=True)
class ShardResult:
    """What was written.

    Attributes:
        split: The split it belongs to.
        shard: The file; it may hold 0 examples if all were unreadable.
        tally: Statistics of the images in it; pixels if its plan says so.
        unreadable: Images left out, each as "name: reason".
        changes: What was stored otherwise than found, by what was done.
    """

    split: str
    shard: Shard
    tally: Tally
    unreadable: tuple[str, ...]
    changes: Mapping[str, Change]


def write_shards(
    plans: Sequence[ShardPlan],
    directory: str,
    num_classes: int,
    *,
    slice_columns: Sequence[str] = (),
    rules: transcode.Rules,
    workers: int,
    advance: Callable[[], None],
) -> list[ShardResult]:
    """Writes all shards to `directory`.

    Args:
        plans: The shards.
        directory: Where they go; it exists.
        num_classes: Labels are below it.
        slice_columns: What the values of `Picture.slices` are called.
        rules: What is stored of an image.
        workers: Shards written at the same time. A worker holds one image in
            memory. The files do not depend on it.
        advance: Called after every image, from any thread.

    Returns:
        A result for each plan, in order.
    """
    go, stop = threading.Event(), threading.Event()

    def write(plan: ShardPlan) -> ShardResult:
        go.wait()
        return _write(
            plan, directory, num_classes, slice_columns, rules, advance, stop
        )

    with (
        transcode.quiet_pillow(),
        futures.ThreadPoolExecutor(workers) as pool,
    ):
        try:
            # An interrupt in submit() may leave a thread that the pool does
            # not know of and does not wait for: none writes until all are
            # known.
            tasks = [pool.submit(write, plan) for plan in plans]
            go.set()
            for task in futures.as_completed(tasks):
                task.result()
        except BaseException:
            # An error or an interrupt: nobody wants the rest.
            stop.set()
            go.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return [task.result() for task in tasks]


def _write(
    plan: ShardPlan,
    directory: str,
    num_classes: int,
    slice_columns: Sequence[str],
    rules: transcode.Rules,
    advance: Callable[[], None],
    stop: threading.Event,
) -> ShardResult:
    tally = Tally.empty(num_classes)
    unreadable: list[str] = []
    changes: dict[str, Change] = {}
    if stop.is_set():
        return ShardResult(plan.split, Shard(plan.file, 0, 0), tally, (), {})
    path = os.path.join(directory, plan.file)
    with tf.io.TFRecordWriter(path) as writer:
        for picture in plan.pictures:
            if stop.is_set():
                break
            try:
                found = picture.read()
                stored = transcode.store(found, rules)
            except UnreadableImageError as e:
                unreadable.append(f"{picture.name}: {e}")
            except OSError as e:
                unreadable.append(f"{picture.name}: {e.strerror}")
            else:
                tally.add(
                    stored.pixels,
                    stored.image_format,
                    picture.label,
                    pixels=plan.counts_pixels,
                )
                writer.write(_record(picture, stored.data, slice_columns))
                if stored.change:
                    changes[stored.change] = changes.get(
                        stored.change, Change()
                    ).plus(Change(1, len(found), len(stored.data)))
            advance()
    size = os.path.getsize(path)
    shard = Shard(plan.file, tally.examples, size, _sha256(path))
    return ShardResult(plan.split, shard, tally, tuple(unreadable), changes)


def _sha256(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _record(
    picture: Picture, data: bytes, slice_columns: Sequence[str]
) -> bytes:
    """Returns the serialised tf.train.Example of one image."""
    name = picture.name.encode("utf-8", "surrogateescape")
    label = picture.label
    features = {
        columns.PREFIX + column: tf.train.Feature(
            bytes_list=tf.train.BytesList(value=[value.encode()])
        )
        for column, value in zip(slice_columns, picture.slices, strict=True)
    } | {
        "image/encoded": tf.train.Feature(
            bytes_list=tf.train.BytesList(value=[data])
        ),
        "image/class/label": tf.train.Feature(
            int64_list=tf.train.Int64List(
                value=label if isinstance(label, tuple) else [label]
            )
        ),
        "image/filename": tf.train.Feature(
            bytes_list=tf.train.BytesList(value=[name])
        ),
    }
    example = tf.train.Example(features=tf.train.Features(feature=features))
    # A map has no order of its own; without this, bytes may differ by run.
    return bytes(example.SerializeToString(deterministic=True))
