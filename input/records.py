"""A split of a data set: from its shards to examples, one by one."""

import dataclasses

import numpy as np
import tensorflow as tf

from input import damage, sources, spec
from input import decode as decode_lib


@dataclasses.dataclass(frozen=True, kw_only=True)
class Split:
    """A split of a data set and how its images are decoded."""

    source: sources.Source
    split: str
    decode: decode_lib.Decoder = decode_lib.AsStored()

    @property
    def examples(self) -> int:
        """Examples in the split."""
        return self.source.info.examples(self.split)

    @property
    def label_classes(self) -> int | None:
        """Of multi-label data the number of classes, for `spec.batch_spec`."""
        info = self.source.info
        return info.num_classes if info.multi_label else None

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of the images in a batch."""
        return self.decode.output_shape(self.source.info)


def indexed(
    data: Split, shard: tf.Tensor, reader: damage.Reader | None = None
) -> tf.data.Dataset:
    """Returns (position in the split, or -1 where lost, record) pairs."""
    if reader is not None:
        return reader.read(shard)
    sizes = tf.constant(
        [s.examples for s in data.source.info.shards(data.split)], tf.int64
    )
    return (
        data.source.read(data.split, shard)
        # A file may end early between two records: nobody else would notice.
        .apply(tf.data.experimental.assert_cardinality(sizes[shard]))
        .enumerate(tf.cumsum(sizes, exclusive=True)[shard])
    )


def example(
    data: Split,
    index: tf.Tensor,
    record: tf.Tensor,
    seed: tf.Tensor,
) -> dict[str, tf.Tensor]:
    """Returns one decoded element of a batch."""
    shape = data.image_shape
    image, label = data.source.parse(
        record, lambda encoded: data.decode(encoded, seed, shape), shape
    )
    classes = len(data.source.info.class_names)
    with tf.control_dependencies(
        [
            tf.debugging.assert_less(
                label,
                classes,
                f"A record of split {data.split!r} has a label that is not "
                f"below the {classes} classes of the data set.",
            ),
            tf.debugging.assert_non_negative(
                label, f"A record of split {data.split!r} has a label below 0."
            ),
        ]
    ):
        if data.label_classes is not None:
            label = _multi_hot(label, data.label_classes)
        return {
            spec.IMAGE: tf.identity(image),
            spec.LABEL: tf.identity(label),
            spec.MASK: tf.constant(1.0),
            spec.INDEX: index,
        }


def example_or_padding(
    data: Split, index: tf.Tensor, record: tf.Tensor, seed: tf.Tensor
) -> dict[str, tf.Tensor]:
    """Returns an example, or a row of mask 0 where the index is -1."""
    return tf.cond(
        index < 0,
        lambda: _padding(data),
        lambda: example(data, index, record, seed),
    )


def _padding(data: Split) -> dict[str, tf.Tensor]:
    # Batch norm in training sees rows whatever their mask: this colour is 0
    # once it has been normalised.
    colour = np.round(data.source.info.channel_mean)
    label = tf.constant(0)
    if data.label_classes is not None:
        label = tf.zeros([data.label_classes])
    return {
        spec.IMAGE: tf.broadcast_to(
            tf.constant(colour, tf.uint8), data.image_shape
        ),
        spec.LABEL: label,
        spec.MASK: tf.constant(0.0),
        spec.INDEX: tf.constant(-1, tf.int64),
    }


def _multi_hot(labels: tf.Tensor, classes: int) -> tf.Tensor:
    """Returns float32 [classes]: 1 for each of some classes, int32 [n]."""
    # A class that a record names twice is there once.
    places = tf.one_hot(labels, classes)
    return tf.reduce_max(
        tf.concat([places, tf.zeros([1, classes])], axis=0), axis=0
    )
