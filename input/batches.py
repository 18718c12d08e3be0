"""The end of a host's pipeline: from examples to batches of input/spec.py."""

import tensorflow as tf

from input import spec


def finish(
    examples: tf.data.Dataset,
    batch_size: int,
    image_shape: tuple[int, int, int],
    stage: str,
) -> tf.data.Dataset:
    """Makes batches ahead of their use, in order, for this host alone.

    Args:
        examples: Decoded.
        batch_size: Rows of a batch.
        image_shape: Height, width and channels.
        stage: What makes them, for the message.

    Raises:
        ValueError: They are not as `spec.batch_spec` says.
    """
    batches = examples.batch(
        batch_size, drop_remainder=True, num_parallel_calls=tf.data.AUTOTUNE
    )
    spec.check(
        batches.element_spec, spec.batch_spec(batch_size, image_shape), stage
    )
    options = tf.data.Options()
    options.deterministic = True
    options.autotune.enabled = True
    # Sharding is done above; tf.distribute must not shard again.
    options.experimental_distribute.auto_shard_policy = (
        tf.data.experimental.AutoShardPolicy.OFF
    )
    return batches.prefetch(tf.data.AUTOTUNE).with_options(options)
