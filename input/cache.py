"""A split held in memory, so that each epoch but the first costs less.

What is held is the examples of each shard; the order in which they are read
does not change. Instead of records, the pipeline shuffles their numbers, and
looks them up at the end: the batches are those of a split that is not held.
"""

import dataclasses
import time
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import tensorflow as tf
from absl import logging

from input import crops, damage, decode, errors, memory, records, spec, threads

Policy = Literal["none", "encoded", "decoded"]

# They make the same pixels of an image each time.
REPEATABLE = (decode.AsStored, crops.ResizeCenterCrop)
# A string in a tensor: its length, a pointer and what malloc adds.
_STRING_BYTES = 48
# Label, mask and index of an example.
_ROW_BYTES = 16
_ALIGNMENT = 64
_CHUNK = 256
_GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Stored:
    """Shards in memory.

    Attributes:
        sizes: Examples in each shard.
        rows: Tensors of [examples + 1, ...], one shard after the other. The
            last row is the padding.
    """

    sizes: tuple[int, ...]
    rows: Any

    @property
    def padding(self) -> tf.Tensor:
        """The number of the padding."""
        return tf.constant(sum(self.sizes), tf.int64)

    def numbers(self, shard: tf.Tensor) -> tf.data.Dataset:
        """Returns the numbers of the rows of one shard (its int64 place)."""
        sizes = tf.constant(self.sizes, tf.int64)
        first = tf.cumsum(sizes, exclusive=True)[shard]
        return tf.data.Dataset.range(first, first + sizes[shard])

    def take(self, numbers: tf.Tensor) -> Any:
        """Returns the rows of some numbers, int64 of any shape."""
        return tf.nest.map_structure(
            lambda values: tf.gather(values, numbers), self.rows
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cached(records.Split):
    """A split that may be held in memory.

    Attributes:
        cache: What is held from the first epoch on. `encoded`: the records,
            which saves reading them again. `decoded`: the pixels of
            `image_shape`, which saves decoding them as well; only with a
            decoder that makes the same of an image each time. The batches do
            not depend on it.
        cache_bytes: Most memory for it, in each process, at least 1; None:
            half of what is free.
    """

    cache: Policy = "none"
    cache_bytes: int | None = None
    _held: dict[tuple[int, ...], Stored] = dataclasses.field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        if self.cache_bytes is not None and self.cache_bytes < 1:
            raise ValueError(
                f"cache_bytes={self.cache_bytes} must be at least 1 byte, or "
                "None for half of the free memory."
            )
        if self.cache == "decoded" and not isinstance(self.decode, REPEATABLE):
            raise ValueError(
                f'cache="decoded" holds pixels, but {self.decode} makes others '
                "of an image each time, which must be cut from the encoded "
                'image: use "encoded", or a decoder such as @as_stored().'
            )

    def check_memory(self, shards: Sequence[int], free: int) -> int:
        """Makes sure that what is to be held fits into memory.

        Args:
            shards: Numbers of the files to hold.
            free: Bytes that may still be used.

        Returns:
            Bytes that it takes.

        Raises:
            errors.UsageError: It does not fit; says what would.
        """
        needed = self._bytes(self.cache, shards)
        limit, rule = free // 2, f"half of the {_gib(free)} that are free"
        if self.cache_bytes is not None:
            limit, rule = self.cache_bytes, "cache_bytes"
        if limit > free:
            limit, rule = free, "the memory that is free here"
        if needed <= limit:
            return needed
        choice = "Choose"
        encoded = self._bytes("encoded", shards)
        if self.cache == "decoded" and encoded <= limit:
            choice = f'"encoded" takes {_gib(encoded)} and fits: choose it, or'
        raise errors.UsageError(
            f'cache="{self.cache}" of split {self.split!r} takes '
            f"{_gib(needed)} for {self._examples(shards):,} examples, but "
            f"{_gib(limit)} is the most it may take ({rule}). {choice} "
            '"none", a larger cache_bytes, or more memory.'
        )

    def stored(
        self, shards: Sequence[int], reader: damage.Reader | None = None
    ) -> Stored | None:
        """Returns some shards in memory, read at the first call.

        Args:
            shards: Numbers of the files.
            reader: What reads on behind damage, if that is wanted.

        Returns:
            The shards in the given order; None where nothing is to be held.

        Raises:
            errors.UsageError: They do not fit.
        """
        if self.cache == "none":
            return None
        key = tuple(shards)
        if key not in self._held:
            needed = self.check_memory(shards, memory.free_bytes())
            began = time.monotonic()
            self._held[key] = self._read(shards, reader)
            logging.info(
                "Split %r: %s examples are held in memory, %s (%s), read in "
                "%.1f s.",
                self.split,
                f"{self._examples(shards):,}",
                self.cache,
                _gib(needed),
                time.monotonic() - began,
            )
        return self._held[key]

    def _read(
        self, shards: Sequence[int], reader: damage.Reader | None
    ) -> Stored:
        infos = self.source.info.splits[self.split]
        sizes = tuple(infos[i].examples for i in shards)
        pairs = tf.data.Dataset.from_tensor_slices(
            tf.constant(shards, tf.int64)
        ).interleave(
            lambda i: records.indexed(self, i, reader),
            cycle_length=1,
            num_parallel_calls=1,
            deterministic=True,
        )
        padding = (tf.constant(-1, tf.int64), tf.constant(""))
        pairs = pairs.concatenate(tf.data.Dataset.from_tensors(padding))
        pairs = pairs.with_options(threads.options())
        if self.cache == "encoded":
            # One batch of all: strings are moved into it, not copied.
            return Stored(sizes, next(iter(pairs.batch(sum(sizes) + 1))))
        return Stored(sizes, self._decoded(pairs, sum(sizes) + 1))

    def _decoded(self, pairs: tf.data.Dataset, count: int) -> Any:
        """Returns `spec.batch_spec` of all examples, decoded."""
        seed = tf.constant([0, 0])
        images = aligned((count, *self.image_shape))
        rest: list[dict[str, np.ndarray]] = []
        chunks = pairs.map(
            lambda index, record: records.example_or_padding(
                self, index, record, seed
            ),
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        ).batch(_CHUNK)
        for i, chunk in enumerate(chunks.prefetch(1).as_numpy_iterator()):
            pixels = chunk.pop(spec.IMAGE)
            images[i * _CHUNK : i * _CHUNK + len(pixels)] = pixels
            rest.append(chunk)
        with tf.device("CPU:0"):
            small = {
                name: tf.constant(np.concatenate([part[name] for part in rest]))
                for name in (spec.LABEL, spec.MASK, spec.INDEX)
            }
        # Without a copy: tf.constant would need the memory twice.
        held = tf.experimental.dlpack.from_dlpack(images.__dlpack__())
        return small | {spec.IMAGE: held}

    def _examples(self, shards: Sequence[int]) -> int:
        infos = self.source.info.splits[self.split]
        return sum(infos[i].examples for i in shards)

    def _bytes(self, policy: Policy, shards: Sequence[int]) -> int:
        """Returns an estimate of what a policy takes."""
        examples = self._examples(shards)
        if policy == "none":
            return 0
        if policy == "encoded":
            infos = self.source.info.splits[self.split]
            stored = sum(infos[i].bytes for i in shards)
            return stored + examples * _STRING_BYTES
        height, width, channels = self.image_shape
        label_bytes = 4 * (self.label_classes or 0)
        return examples * (height * width * channels + _ROW_BYTES + label_bytes)


def aligned(shape: tuple[int, ...]) -> np.ndarray:
    """Returns an uninitialised uint8 array where TensorFlow accepts one."""
    size = int(np.prod(shape, dtype=np.int64))
    room = np.empty(size + _ALIGNMENT, np.uint8)
    first = -room.ctypes.data % _ALIGNMENT
    return room[first : first + size].reshape(shape)


def _gib(count: int) -> str:
    """Returns bytes as a person would say them."""
    if count < 2**20:
        return f"{count:,} bytes"
    if count < _GIB / 10:
        return f"{count / 2**20:.1f} MiB"
    return f"{count / _GIB:.1f} GiB"
