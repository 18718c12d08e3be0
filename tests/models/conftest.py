"""What the tests of several models share."""

import pytest
import tensorflow as tf

from models import layers


def _overfit(model, steps=60, learning_rate=0.05):
    """Returns the mean loss of a random batch after training on it alone."""
    batch = 8
    images = tf.random.stateless_normal([batch, *model.input.shape[1:]], [1, 2])
    labels = tf.range(batch) % model.output.shape[-1]
    velocities = [
        tf.Variable(tf.zeros(v.shape)) for v in model.trainable_weights
    ]

    @tf.function(reduce_retracing=True)
    def train_step(step):
        with (
            tf.GradientTape() as tape,
            layers.random_rows(tf.stack([0, step]), 0),
        ):
            loss = tf.reduce_mean(
                tf.nn.sparse_softmax_cross_entropy_with_logits(
                    labels, model(images, training=True)
                )
            )
        variables = [v.value for v in model.trainable_weights]
        gradients = tape.gradient(loss, variables)
        for variable, velocity, gradient in zip(
            variables, velocities, gradients, strict=True
        ):
            velocity.assign(0.9 * velocity + gradient)
            variable.assign_sub(learning_rate * velocity)
        return loss

    for step in range(steps):
        loss = train_step(tf.constant(step))
    return float(loss)


@pytest.fixture
def overfit():
    """A function from a model to its loss after 60 steps on one batch."""
    return _overfit
