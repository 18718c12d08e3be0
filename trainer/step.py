"""One step of training and one of evaluation, as a replica sees them.

Nothing here knows which engine runs it. What must be the same on every replica
is computed from all-reduced numbers; what is random is drawn for the global
batch (input/augment.py, models/layers.py).
"""

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Literal

import keras
import tensorflow as tf

from input import augment as augment_lib
from input import spec
from models import layers
from trainer import duration, engine, losses, metrics, optimizers, state

BatchNorm = Literal["local", "sync"]
Preprocess = Callable[..., tf.Tensor]
Values = dict[str, tf.Tensor]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainStep:
    """The training step of a run.

    Attributes:
        engine: Adds up across replicas.
        preprocess: `input.augment.preprocess` with the data's mean and std.
        augments: On-device augmentation, in order.
        loss: Per-example loss.
        optimizer: Learning rate schedule and clipping.
        horizon: Length of the run, for the schedule.
        global_batch_size: Rows over all replicas.
        seed: Of augmentation and dropout, any int32.
        batch_norm: `local`: each replica normalises by its own rows, and
            moving statistics are averaged (`average_statistics`). `sync`: all
            replicas normalise by the statistics of the global batch.
    """

    engine: engine.Engine
    preprocess: Preprocess
    augments: Sequence[augment_lib.Augment]
    loss: losses.Loss
    optimizer: optimizers.Optimizer
    horizon: duration.Horizon
    global_batch_size: int
    seed: int
    batch_norm: BatchNorm = "local"

    def __call__(self, train: state.TrainState, batch: spec.Batch) -> Values:
        """Takes one optimizer step.

        Args:
            train: Updated in place.
            batch: This replica's rows.

        Returns:
            Float32 scalars, the same on every replica: sums over the global
            batch `loss`, `correct`, `examples`; of the step `gradient_norm`
            (before clipping), `learning_rate`, `skipped` (1 where a gradient
            was not finite and the weights were left alone).
        """
        gradients, sums = self._gradients(train, batch)
        reduced = self.engine.all_reduce([*gradients, *sums.values()])
        gradients = reduced[: len(gradients)]
        sums = dict(zip(sums, reduced[len(gradients) :], strict=True))

        gradients = train.loss_scale.unscale(gradients)
        # Any inf or nan, on any replica, is in this sum on all of them.
        norm = tf.linalg.global_norm(gradients)
        finite = tf.math.is_finite(norm)
        gradients = self._clip(gradients, norm)
        learning_rate = self.optimizer.learning_rate(train.step, self.horizon)
        tf.cond(
            finite,
            lambda: train.updater.apply(gradients, learning_rate),
            lambda: None,
        )
        train.loss_scale.update(finite)
        train.step.assign_add(1)
        return sums | {
            "gradient_norm": norm,
            "learning_rate": learning_rate,
            "skipped": 1 - tf.cast(finite, tf.float32),
        }

    def _gradients(
        self, train: state.TrainState, batch: spec.Batch
    ) -> tuple[list[tf.Tensor], Values]:
        """Returns this replica's part of the scaled gradients and sums."""
        rows = self._rows(train, batch)
        images = self.preprocess(
            batch[spec.IMAGE], augments=self.augments, rows=rows
        )
        labels, mask = batch[spec.LABEL], batch[spec.MASK]
        with tf.GradientTape() as tape:
            with layers.random_rows(rows.seed, rows.first), self._statistics():
                logits = train.model(images, training=True)
            per_example = self.loss(labels, logits) * mask
            # Penalties do not depend on the rows: each replica adds its part.
            penalty = sum(train.model.losses, start=tf.constant(0.0))
            objective = (
                tf.reduce_sum(per_example) / self.global_batch_size
                + penalty / self.engine.num_replicas
            )
            scaled = objective * train.loss_scale.scale
        weights = [v.value for v in train.model.trainable_variables]
        gradients = tape.gradient(scaled, weights)
        correct = tf.cast(metrics.rank(logits, labels) == 0, tf.float32)
        return gradients, {
            "loss": tf.reduce_sum(per_example),
            "correct": tf.reduce_sum(correct * mask),
            "examples": tf.reduce_sum(mask),
        }

    def _rows(
        self, train: state.TrainState, batch: spec.Batch
    ) -> augment_lib.Rows:
        count = batch[spec.IMAGE].shape[0]
        seed = tf.stack([self.seed, tf.cast(train.step, tf.int32)])
        first = self.engine.replica_index() * count
        return augment_lib.Rows(seed, first, count, self.global_batch_size)

    def _statistics(self) -> contextlib.AbstractContextManager[None]:
        replicas = self.engine.num_replicas
        if self.batch_norm == "local" or replicas == 1:
            return contextlib.nullcontext()

        def mean(value: tf.Tensor) -> tf.Tensor:
            return self.engine.all_reduce([value])[0] / replicas

        return layers.cross_replica(mean, replicas)

    def _clip(
        self, gradients: list[tf.Tensor], norm: tf.Tensor
    ) -> list[tf.Tensor]:
        largest = self.optimizer.clip_norm
        if largest is None:
            return gradients
        factor = largest / tf.maximum(norm, largest)
        return [g * factor for g in gradients]


def average_statistics(on: engine.Engine, model: keras.Model) -> None:
    """Makes the moving statistics of all replicas their mean.

    To be called by every replica before they are read or saved. Moving
    averages are linear, so that it does not matter how often this is done.
    """
    variables = [v.value for v in model.non_trainable_variables]
    floating = [v for v in variables if v.dtype.is_floating]
    if on.num_replicas == 1 or not floating:
        return
    sums = on.all_reduce([v.read_value() for v in floating])
    for variable, total in zip(floating, sums, strict=True):
        variable.assign(total / on.num_replicas)


def eval_step(
    model: keras.Model,
    preprocess: Preprocess,
    loss: losses.Loss,
    batch: spec.Batch,
) -> dict[str, Any]:
    """Returns what each example of a batch gives, padding included.

    Returns:
        `loss` float32, `rank` int32 (of the right class), `predicted` int32,
        `confidence` float32 (of the predicted class), `label`, `mask`,
        `index`: each [b].
    """
    logits = model(preprocess(batch[spec.IMAGE]), training=False)
    probabilities = tf.nn.softmax(logits)
    return {
        "loss": loss(batch[spec.LABEL], logits),
        "rank": metrics.rank(logits, batch[spec.LABEL]),
        "predicted": tf.argmax(logits, axis=1, output_type=tf.int32),
        "confidence": tf.reduce_max(probabilities, axis=1),
        "label": batch[spec.LABEL],
        "mask": batch[spec.MASK],
        "index": batch[spec.INDEX],
    }
