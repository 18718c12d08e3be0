"""Lockstep, Keras's `fit` and a bare loop, each to be run as a process.

    python -m benchmarks.tf_contenders CONTENDER CASE

All read the same input pipeline: made-up images, drawn in tf.data.
"""

import dataclasses
import itertools
import sys
import time
from typing import Any

import keras
import tensorflow as tf

from benchmarks import cases, orders
from input import spec
from models import layers, summary
from trainer import bindings, config, loop, recipe, session

_VERSION = f"TensorFlow {tf.__version__}, Keras {keras.__version__}"


def load_recipe(case: cases.Case) -> recipe.Recipe:
    """Returns the training of a case, as trainer.main would read it."""
    bindings.register()
    config.parse(["benchmarks/step.gin"], case.gin_params)
    return config.call("train")


def lockstep(chosen: recipe.Recipe, todo: orders.Orders) -> None:
    """The trainer: session, compiled loop and input pipeline."""
    parts = session.build(chosen, config.call("make_engine"))
    todo.ready(_VERSION, summary.parameter_count(parts.state.model))
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


def bare(case: cases.Case, todo: orders.Orders) -> None:
    """What one would write by hand: no metrics, no checks."""
    chosen = load_recipe(case)
    model = _model(chosen)
    info = chosen.train_data.source.info
    mean, std = tf.constant(info.channel_mean), tf.constant(info.channel_std)
    weights = [v.value for v in model.trainable_variables]
    velocities = [tf.Variable(tf.zeros_like(w)) for w in weights]
    rate, momentum = cases.LEARNING_RATE, cases.MOMENTUM

    @tf.function
    def step(batch: spec.Batch) -> tf.Tensor:
        images = (tf.cast(batch[spec.IMAGE], tf.float32) - mean) / std
        with tf.GradientTape() as tape:
            logits = model(images, training=True)
            loss = tf.reduce_mean(
                tf.nn.sparse_softmax_cross_entropy_with_logits(
                    batch[spec.LABEL], logits
                )
            )
        gradients = tape.gradient(loss, weights)
        for weight, velocity, gradient in zip(
            weights, velocities, gradients, strict=True
        ):
            velocity.assign(momentum * velocity - rate * gradient)
            weight.assign_add(momentum * velocity - rate * gradient)
        return loss

    batches = iter(_dataset(chosen))
    todo.ready(_VERSION, summary.parameter_count(model))

    def take(steps: int) -> None:
        for batch in itertools.islice(batches, steps):
            loss = step(batch)
        float(loss)

    todo.serve(take)


def compiled(
    case: cases.Case, jit: bool | str = False
) -> tuple[keras.Model, tf.data.Dataset]:
    """Returns the same architecture of Keras's own layers, and its data."""
    chosen = load_recipe(case)
    info = chosen.train_data.source.info
    network = _with_keras_batch_norm(_model(chosen))
    image = keras.Input(chosen.train_data.image_shape, dtype="uint8")
    normalised = keras.layers.Normalization(
        mean=info.channel_mean, variance=[s**2 for s in info.channel_std]
    )(image)
    model = keras.Model(image, network(normalised))
    model.compile(
        keras.optimizers.SGD(
            cases.LEARNING_RATE, cases.MOMENTUM, nesterov=True
        ),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=jit,
    )
    batches = _dataset(chosen).map(lambda b: (b[spec.IMAGE], b[spec.LABEL]))
    return model, batches


def fit(case: cases.Case, todo: orders.Orders, jit: bool | str) -> None:
    """`model.fit` on the same architecture made of Keras's own layers."""
    model, batches = compiled(case, jit)
    todo.ready(_VERSION, summary.parameter_count(model))
    model.fit(
        batches,
        steps_per_epoch=sys.maxsize,
        verbose=0,
        callbacks=[_TakeOrders(todo)],
    )


class _TakeOrders(keras.callbacks.Callback):
    """Lets one endless epoch of `fit` pause between orders."""

    def __init__(self, todo: orders.Orders) -> None:
        super().__init__()
        self._todo = todo
        self._left = 0
        self._began = 0.0

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Waits for an order where none is under way."""
        if self._left == 0:
            self._left = self._todo.next()
            self._began = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Answers when the last step of an order is done."""
        self._left -= 1
        if self._left == 0:
            self._todo.done(time.perf_counter() - self._began)


def _model(chosen: recipe.Recipe) -> keras.Model:
    keras.utils.set_random_seed(chosen.seed)
    return chosen.model(
        num_classes=chosen.classes, image_shape=chosen.train_data.image_shape
    )


def _dataset(chosen: recipe.Recipe) -> tf.data.Dataset:
    return chosen.train_data.dataset(
        spec.HostShare(index=0, count=1, replicas=1),
        global_batch_size=chosen.global_batch_size,
        seed=chosen.seed,
    )


def _with_keras_batch_norm(model: keras.Model) -> keras.Model:
    def replace(layer: keras.layers.Layer) -> keras.layers.Layer:
        if not isinstance(layer, layers.BatchNormalization):
            return layer.__class__.from_config(layer.get_config())
        return keras.layers.BatchNormalization(
            momentum=layer.momentum,
            epsilon=layer.epsilon,
            gamma_initializer=layer.gamma_initializer,
            name=layer.name,
        )

    return keras.models.clone_model(model, clone_function=replace)


def main() -> None:
    """Becomes the contender that the command line names."""
    name, case = sys.argv[1], cases.CASES[sys.argv[2]]
    todo = orders.Orders()
    if name in ("lockstep", "jit"):
        chosen = load_recipe(case)
        lockstep(dataclasses.replace(chosen, jit_compile=name == "jit"), todo)
    elif name == "bare":
        bare(case, todo)
    else:
        fit(case, todo, jit="auto" if name == "fit" else False)


if __name__ == "__main__":
    main()
