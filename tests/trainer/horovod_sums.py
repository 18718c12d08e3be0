"""What two processes of Horovod get when they add up; see test_horovod.py.

    python -m tests.trainer.horovod_sums OUTPUT

writes the sums of each process, as float32, to OUTPUT-RANK.npz, and the weights
of a training whose gradients are bfloat16 on the wire.
"""

import sys

import numpy as np
import tensorflow as tf

from trainer import bindings, config, engine, engines, session

# Scalar, empty, an odd number of values, two axes, and one alone.
SHAPES = ((), (0,), (5,), (2, 3), (1, 1, 1))
FORMATS = ("bfloat16", "float16", "float32")
STEPS = 3


def inputs(rank: int) -> list[np.ndarray]:
    """What a process adds, in float32."""
    random = np.random.default_rng(rank)
    return [random.normal(size=s).astype(np.float32) for s in SHAPES]


def sums(on: engine.Engine, name: str) -> list[np.ndarray]:
    """Adds up in a graph, in a format."""

    @tf.function
    def add(values: list[tf.Tensor]) -> list[tf.Tensor]:
        narrow = [tf.cast(value, name) for value in values]
        found = on.all_reduce(narrow)
        for result, value in zip(found, narrow, strict=True):
            assert (result.dtype, result.shape) == (value.dtype, value.shape)
        return [tf.cast(value, tf.float32) for value in found]

    terms = [tf.constant(term) for term in inputs(on.host.index)]
    return [total.numpy() for total in add(terms)]


def train(on: engine.Engine) -> list[np.ndarray]:
    """Takes some steps, the gradients bfloat16 on the wire."""
    config.parse(
        ["tests/tiny.gin"], ['train.gradient_compression = "bfloat16"']
    )
    parts = session.build(config.call("train"), on)
    parts.take_steps(0)(STEPS)
    return [np.asarray(v) for v in parts.state.model.trainable_variables]


def main(output: str) -> None:
    bindings.register()
    on = engines.make_engine("horovod", startup_timeout=60.0)
    found = {name: sums(on, name) for name in FORMATS} | {"weights": train(on)}
    arrays = {
        f"{name}/{i}": value
        for name, values in found.items()
        for i, value in enumerate(values)
    }
    np.savez(f"{output}-{on.host.index}.npz", **arrays)


if __name__ == "__main__":
    main(*sys.argv[1:])
