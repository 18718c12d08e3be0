"""Lockstep's step and Keras's own, each to be run as a process.

    python -m benchmarks.exactness_contenders CONTENDER CASE

Both train the same model from the same input pipeline on the same `mirrored`
engine, the CPU as two devices, and add up the same metrics. Keras's SGD
all-reduces by itself, in `optimizer.apply`.
"""

import sys
from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from benchmarks import cases, orders, scaling_worker
from input import spec
from models import summary
from trainer import session

_DEVICES = 2


def build(case: cases.Case) -> session.Session:
    """Returns a training on two devices, which share the rows of the case."""
    return scaling_worker.build(
        "mirrored", 1, case, f"make_engine.virtual_devices = {_DEVICES}"
    )


def keras_apply(parts: session.Session, todo: orders.Orders) -> None:
    """A training step around `optimizer.apply`, as one writes it by hand."""
    on, chosen, model = parts.engine, parts.recipe, parts.state.model
    info = chosen.train_data.source.info
    mean, std = tf.constant(info.channel_mean), tf.constant(info.channel_std)
    with on.scope():
        optimizer = keras.optimizers.SGD(
            cases.LEARNING_RATE, cases.MOMENTUM, nesterov=True
        )
        optimizer.build(model.trainable_variables)

    def step(batch: Mapping[str, tf.Tensor]) -> list[tf.Tensor]:
        images = (tf.cast(batch[spec.IMAGE], tf.float32) - mean) / std
        labels = batch[spec.LABEL]
        with tf.GradientTape() as tape:
            logits = model(images, training=True)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
                labels, logits
            )
            loss = tf.reduce_sum(losses) / chosen.global_batch_size
        weights = [v.value for v in model.trainable_variables]
        gradients = tape.gradient(loss, weights)
        optimizer.apply(gradients, model.trainable_variables)
        hits = tf.argmax(logits, 1, tf.int32) == labels
        correct = tf.reduce_sum(tf.cast(hits, tf.float32))
        return on.all_reduce([tf.reduce_sum(losses), correct])

    # AutoGraph is for the loop below alone.
    @tf.autograph.experimental.do_not_convert
    def take_step(batch: Any) -> list[tf.Tensor]:
        return on.first(on.run(step, batch))

    @tf.function
    def take_steps(steps: tf.Tensor) -> list[tf.Tensor]:
        sums = [tf.constant(0.0), tf.constant(0.0)]
        for _ in tf.range(steps):
            found = take_step(next(batches))
            sums = [sums[0] + found[0], sums[1] + found[1]]
        return sums

    batches = iter(
        on.distribute(
            lambda host: chosen.train_data.dataset(
                host,
                global_batch_size=chosen.global_batch_size,
                seed=chosen.seed,
            )
        )
    )
    todo.ready(f"Keras {keras.__version__}", summary.parameter_count(model))

    def take(steps: int) -> None:
        while steps:
            some = min(steps, chosen.steps_per_loop)
            float(take_steps(tf.constant(some))[0])
            steps -= some

    todo.serve(take)


def main() -> None:
    """Becomes the contender that the command line names."""
    name, case = sys.argv[1], cases.CASES[sys.argv[2]]
    todo = orders.Orders()
    contender = {"lockstep": scaling_worker.train, "keras": keras_apply}[name]
    contender(build(case), todo)


if __name__ == "__main__":
    main()
