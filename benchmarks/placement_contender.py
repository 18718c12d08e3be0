"""Training with RandAugment and mixup, on the device or on the host.

    python -m benchmarks.placement_contender PLACE CASE

PLACE is `device`, in the training step as Lockstep does it; `host`, as others
do it: each image with Pillow in the threads of tf.data, and pairs mixed in a
batch; or `neither`. Both draw as many operations from the same list.
"""

import dataclasses
import sys
from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks import augment_contenders, cases, orders, tf_contenders
from input import mixing, pipeline, policies, spec
from trainer import recipe

_ALPHA = 0.2


class HostTrainData(pipeline.TrainData):
    """Made-up images that the host augments and mixes."""

    def dataset(self, *args: Any, **kwargs: Any) -> tf.data.Dataset:
        """Returns the batches, augmented; their labels are not mixed."""
        batches = super().dataset(*args, **kwargs)
        size = kwargs["global_batch_size"]
        augmented = (
            batches.unbatch()
            .enumerate()
            .map(_augment, num_parallel_calls=tf.data.AUTOTUNE)
            .batch(size, drop_remainder=True)
        )
        mixed = augmented.enumerate().map(
            _mix, num_parallel_calls=tf.data.AUTOTUNE
        )
        return mixed.prefetch(2)


def _augment(number: tf.Tensor, example: spec.Batch) -> spec.Batch:
    image = example[spec.IMAGE]
    changed = tf.numpy_function(
        augment_contenders.host_rand_augment, [image, number], tf.uint8
    )
    return dict(example) | {spec.IMAGE: tf.ensure_shape(changed, image.shape)}


def _mix(number: tf.Tensor, batch: spec.Batch) -> spec.Batch:
    images = tf.cast(batch[spec.IMAGE], tf.float32)
    share = tf.numpy_function(
        lambda n: np.float32(np.random.default_rng(n).beta(_ALPHA, _ALPHA)),
        [number],
        tf.float32,
    )
    share = tf.ensure_shape(share, [])
    mixed = share * images + (1 - share) * tf.roll(images, 1, axis=0)
    return dict(batch) | {spec.IMAGE: tf.cast(mixed + 0.5, tf.uint8)}


def augmented(chosen: recipe.Recipe, place: str) -> recipe.Recipe:
    """Returns the recipe with both augmentations where they are asked for."""
    if place == "device":
        return dataclasses.replace(
            chosen,
            augment=[
                policies.rand_augment(
                    num_ops=augment_contenders.LAYERS,
                    magnitude=augment_contenders.MAGNITUDE,
                )
            ],
            mixing=mixing.mixup(_ALPHA),
        )
    if place == "host":
        data = HostTrainData(source=chosen.train_data.source)
        return dataclasses.replace(chosen, train_data=data)
    return chosen


def main() -> None:
    """Becomes the contender that the command line names."""
    place, case = sys.argv[1], cases.CASES[sys.argv[2]]
    todo = orders.Orders()
    chosen = augmented(tf_contenders.load_recipe(case), place)
    tf_contenders.lockstep(chosen, todo)


if __name__ == "__main__":
    main()
