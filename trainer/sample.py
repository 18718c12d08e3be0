"""Some examples of a split: to calibrate an export, and to hold it to."""

import dataclasses
import math
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from input import decode as decode_lib
from input import diagnosis, records

_FEW_FILES = 16


@dataclasses.dataclass(frozen=True)
class Sample:
    """Examples, as stored and as the network takes them.

    Attributes:
        encoded: The pictures, n of them.
        images: Their pixels, uint8 [n, H, W, C].
        labels: int32 [n], or of multi-label data float32 [n, classes].
    """

    encoded: tuple[bytes, ...]
    images: np.ndarray
    labels: np.ndarray


def draw(data: records.Split, decode: decode_lib.Decoder, count: int) -> Sample:
    """Reads examples from the beginnings of files all over the split.

    The same split gives the same examples.

    Args:
        data: The split.
        decode: Makes pixels, as evaluation does.
        count: How many, at least 1; all where the split has fewer.

    Raises:
        errors.DataError: A file cannot be read.
    """
    shape = decode.output_shape(data.source.info)
    seed = tf.zeros([2], tf.int64)
    pixels = tf.function(
        lambda encoded: decode(encoded, seed, shape),
        input_signature=[tf.TensorSpec([], tf.string)],
        autograph=False,
    )
    with diagnosis.explained(data):
        found = list(_read(data, shape, min(count, data.examples)))
        images = [np.asarray(pixels(encoded)) for encoded, _ in found]
    return Sample(
        encoded=tuple(encoded for encoded, _ in found),
        images=np.stack(images),
        labels=np.stack([label for _, label in found]),
    )


def _read(
    data: records.Split, shape: tuple[int, int, int], count: int
) -> Iterator[tuple[bytes, np.ndarray]]:
    """Yields encoded pictures and labels, the same number of each file."""
    shards = data.source.info.shards(data.split)
    # On gs:// the least that is read of a file is 8 MiB.
    least = min(shard.examples for shard in shards)
    files = min(len(shards), count, max(_FEW_FILES, -(-count // least)))
    left = count
    # The smallest first: what they lack, the others have.
    chosen = sorted(
        (math.floor(i * len(shards) / files) for i in range(files)),
        key=lambda shard: shards[shard].examples,
    )
    for done, shard in enumerate(chosen):
        wanted = min(-(-left // (files - done)), shards[shard].examples)
        left -= wanted
        stream = records.indexed(data, tf.constant(shard, tf.int64)).take(
            wanted
        )
        for _, record in stream:
            encoded, label = data.source.parse(record, _as_it_is, shape)
            if encoded.dtype != tf.string:  # Made-up pixels.
                encoded = tf.io.encode_png(encoded)
            yield encoded.numpy(), _target(data, label.numpy())


def _target(data: records.Split, label: np.ndarray) -> np.ndarray:
    """Returns a class as it is, and a set of classes as float32 [classes]."""
    if data.label_classes is None:
        return label
    return np.isin(np.arange(data.label_classes), label).astype(np.float32)


def _as_it_is(encoded: tf.Tensor) -> tf.Tensor:
    return encoded
