"""How fast each stage of a host's pipeline is, by a short trial."""

import dataclasses
import math
import os
import pathlib
import time
from collections.abc import Callable, Iterator

import tensorflow as tf

from input import records, threads

_SECONDS = 0.5
_SAMPLE = 256
# Records of a large shard are read in batches: one at a time, Python counts.
_BATCH = 64
_QUOTA = pathlib.Path("/sys/fs/cgroup/cpu.max")


@dataclasses.dataclass(frozen=True)
class Rates:
    """What the stages of a pipeline do in a second.

    Attributes:
        read: Records that one reader reads, infinite where nothing is read.
        decode: Images that one core makes of records.
        cores: That this process may use.
    """

    read: float
    decode: float
    cores: float


def measure(data: records.Split, seconds: float = _SECONDS) -> Rates:
    """Tries out reading and decoding for a moment each.

    Args:
        data: The split, of which one shard is read. What the kernel has in
            memory is read faster than the rest.
        seconds: How long to try each stage.

    Raises:
        tf.errors.OpError: A record cannot be read.
    """
    with tf.device("CPU:0"):
        pairs = records.indexed(data, tf.constant(0, tf.int64))
        pairs = pairs.with_options(threads.options())
        held = next(iter(pairs.take(_SAMPLE).batch(_SAMPLE)))
        read = math.inf
        if data.source.paths(data.split):
            read = _rate(lambda: iter(pairs.batch(_BATCH)), seconds)
        seed = tf.constant([0, 0])
        options = threads.options()
        options.threading.max_intra_op_parallelism = 1
        # Or a core would turn into several.
        options.experimental_optimization.map_parallelization = False
        decoded = (
            tf.data.Dataset.from_tensor_slices(held)
            .map(
                lambda index, record: records.example_or_padding(
                    data, index, record, seed
                )
            )
            .batch(_BATCH // 8)
            .with_options(options)
        )
        # What is set up at the first call is not the stage.
        next(iter(decoded))
        decode = _rate(lambda: iter(decoded), seconds)
    return Rates(read, decode, cores())


def _rate(
    restart: Callable[[], Iterator[tuple[tf.Tensor, ...]]], seconds: float
) -> float:
    """Returns the elements a second of batches that are read over and over."""
    count = 0
    began = time.monotonic()
    while True:
        for batch in restart():
            count += int(tf.nest.flatten(batch)[0].shape[0])
            passed = time.monotonic() - began
            if passed > seconds:
                return count / passed


def cores(quota: pathlib.Path = _QUOTA) -> float:
    """Returns how many cores this process may use, by mask and by quota.

    Args:
        quota: "max 100000" or "150000 100000": microseconds of each period.
    """
    allowed = float(len(os.sched_getaffinity(0)))
    try:
        most, period = quota.read_text().split()
    except (OSError, ValueError):
        return allowed
    if most == "max":
        return allowed
    return min(allowed, int(most) / int(period))
