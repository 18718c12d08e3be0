"""Training with RandAugment and mixup, on the device or on the host.

    python -m benchmarks.placement_contender PLACE CASE

PLACE is `device`, in the training step as Lockstep does it; `host`, as others
do it: each image with Pillow in the threads of tf.data, and pairs mixed in a
batch; or `neither`. Both draw as many operations from the same list.
"""

import dataclasses
import sys
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from benchmarks import augment_contenders, cases, orders, tf_contenders
from input import mixing, pipeline, policies, spec
from models import summary
from trainer import config, loop, recipe, session

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
        return augmented.map(
            _mix, num_parallel_calls=tf.data.AUTOTUNE
        ).prefetch(2)


def _augment(number: tf.Tensor, example: spec.Batch) -> spec.Batch:
    image = example[spec.IMAGE]
    changed = tf.numpy_function(
        augment_contenders.host_rand_augment, [image, number], tf.uint8
    )
    return dict(example) | {spec.IMAGE: tf.ensure_shape(changed, image.shape)}


def _mix(batch: spec.Batch) -> spec.Batch:
    images = tf.cast(batch[spec.IMAGE], tf.float32)
    share = tf.numpy_function(
        lambda: np.float32(np.random.default_rng().beta(_ALPHA, _ALPHA)),
        [],
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
    parts = session.build(chosen, config.call("make_engine"))
    todo.ready(
        f"TensorFlow {tf.__version__}, Keras {keras.__version__}",
        summary.parameter_count(parts.state.model),
    )
    compiled = parts.take_steps(0)

    def take(steps: int) -> None:
        done = int(parts.state.step)
        loop.run(
            compiled,
            [],
            start_step=done,
            total_steps=done + steps,
            steps_per_loop=chosen.steps_per_loop,
        )

    todo.serve(take)


if __name__ == "__main__":
    main()
