"""The end of a host's pipeline: from examples to batches of input/spec.py."""

import tensorflow as tf

from input import cache, spec, threads

# Batches that are ready: enough for a pause between groups of files.
_AHEAD = 4


def of_examples(examples: tf.data.Dataset, size: int) -> tf.data.Dataset:
    """Returns batches of decoded examples."""
    return examples.batch(
        size, drop_remainder=True, num_parallel_calls=tf.data.AUTOTUNE
    )


def of_stored(
    stream: tf.data.Dataset, stored: cache.Stored, size: int
) -> tf.data.Dataset:
    """Returns batches of what is held decoded.

    Args:
        stream: Pairs of a position and the number of a row that is held.
        stored: The rows.
        size: Rows of a batch, which are looked up at once.
    """
    return of_examples(stream, size).map(
        lambda _, numbers: stored.take(numbers),
        num_parallel_calls=tf.data.AUTOTUNE,
    )


def finish(
    batches: tf.data.Dataset,
    batch_size: int,
    image_shape: tuple[int, int, int],
    stage: str,
    label_classes: int | None = None,
) -> tf.data.Dataset:
    """Holds batches against the contract, and makes them ahead, in order.

    Args:
        batches: Of one replica each.
        batch_size: Rows of each.
        image_shape: Height, width and channels.
        stage: What made them, for the message.
        label_classes: Of multi-label data the number of classes.

    Raises:
        ValueError: They are not as `spec.batch_spec` says.
    """
    expected = spec.batch_spec(batch_size, image_shape, label_classes)
    spec.check(batches.element_spec, expected, stage)
    return ordered(batches)


def ordered(batches: tf.data.Dataset) -> tf.data.Dataset:
    """Makes batches ahead of their use, in their order, for this host alone."""
    options = threads.options()
    # Sharding is done above; tf.distribute must not shard again.
    options.experimental_distribute.auto_shard_policy = (
        tf.data.experimental.AutoShardPolicy.OFF
    )
    return batches.prefetch(_AHEAD).with_options(options)


def endless(batches: tf.data.Dataset) -> tf.data.Dataset:
    """Says of batches that they never end.

    Workers need not ask each other then, at each step, whether there is more.
    """
    return batches.apply(
        tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY)
    )
