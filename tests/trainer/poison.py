"""trainer.main with a loss that goes wrong for some labels, as a program."""

import math
from typing import Literal

import tensorflow as tf

from trainer import cli, config, losses, main

LABEL = 3


def poisoned(
    harm: Literal["nan", "spike", "gradient"], label: int = LABEL
) -> losses.Loss:
    """A loss that does harm from a label on: in its value or gradient."""

    def loss(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        plain = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        bad = {
            "nan": tf.fill(tf.shape(plain), math.nan),
            "spike": 1e3 * plain,
            # The root is 0, and its slope infinite.
            "gradient": plain + tf.sqrt(plain - plain),
        }
        return tf.where(labels >= label, bad[harm], plain)

    return loss


config.register(poisoned, "poisoned", "tests")

if __name__ == "__main__":
    cli.run(main.main)
