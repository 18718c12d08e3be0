"""One step of training and one of evaluation, as a replica sees them.

Nothing here knows which engine runs it. What must be the same on every replica
is computed from all-reduced numbers; what is random is drawn for the global
batch (input/augment.py, models/layers.py).
"""

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Literal

import tensorflow as tf

from input import augment as augment_lib
from input import spec
from models import layers
from trainer import (
    engine,
    metrics,
    objective,
    phases,
    state,
    statistics,
)

BatchNorm = Literal["local", "sync"]
Compression = Literal["none", "float16", "bfloat16"]
Preprocess = Callable[..., tf.Tensor]
Values = dict[str, tf.Tensor]
Gradients = list[tf.Tensor]

_SUMS = ("loss", "correct", "examples")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainStep:
    """The training step of a run.

    Attributes:
        engine: Adds up across replicas.
        preprocess: `input.augment.preprocess` with the data's mean and std.
        augments: On-device augmentation, in order.
        objective: Loss of each example, with what mixes them.
        phase: Learning rate schedule and clipping, and since when.
        global_batch_size: Rows over all replicas.
        seed: Of augmentation and dropout, any int32.
        batch_norm: `local`: each replica normalises by its own rows, and
            moving statistics are averaged (`statistics.average`). `sync`: all
            replicas normalise by the statistics of the global batch.
        accumulate_steps: Micro-batches whose gradients are added up before
            the all-reduce. Batch norm sees one micro-batch at a time.
        gradient_compression: Number format of gradients in the all-reduce.
        jit_compile: Whether XLA compiles what lies before the all-reduce and
            what lies after it.
    """

    engine: engine.Engine
    preprocess: Preprocess
    augments: Sequence[augment_lib.Augment]
    objective: objective.Objective
    phase: phases.Span
    global_batch_size: int
    seed: int
    batch_norm: BatchNorm = "local"
    accumulate_steps: int = 1
    gradient_compression: Compression = "none"
    jit_compile: bool = False

    def __call__(self, train: state.TrainState, batch: spec.Batch) -> Values:
        """Takes one optimizer step.

        Args:
            train: Updated in place.
            batch: This replica's rows, those of a micro-batch together.

        Returns:
            Float32 scalars, the same on every replica: sums over the global
            batch `loss`, `correct`, `examples`; of the step `gradient_norm`
            (before clipping), `learning_rate`, `skipped` (1 where a gradient
            was not finite and the weights were left alone) and
            `skipped_in_a_row` (up to this step).
        """
        # The forward pass moves them before it is known what it gives.
        before = statistics.remember(train)
        gradients, sums = self._compiled(lambda: self._gradients(train, batch))
        gradients, sums = self._all_reduce(gradients, sums)
        return self._compiled(
            lambda: self._update(train, gradients, sums, before)
        )

    def _compiled(self, function: Callable[[], Any]) -> Any:
        """Calls a part of the step that needs no other replica."""
        if not self.jit_compile:
            return function()
        return tf.function(function, jit_compile=True, autograph=False)()

    def _gradients(
        self, train: state.TrainState, batch: spec.Batch
    ) -> tuple[Gradients, Values]:
        """Returns this replica's part of the scaled gradients and sums."""
        if self.accumulate_steps == 1:
            return self._micro_batch(train, batch, 0)
        # [b, ...] -> [accumulate_steps, b / accumulate_steps, ...]
        parts = {
            key: tf.reshape(
                value, [self.accumulate_steps, -1, *value.shape[1:]]
            )
            for key, value in batch.items()
        }

        def add(number: tf.Tensor | int, so_far: Any) -> Any:
            rows = {key: value[number] for key, value in parts.items()}
            found = self._micro_batch(train, rows, number)
            return tf.nest.map_structure(tf.add, so_far, found)

        weights = train.updater.weights
        total = (
            [tf.zeros(weight.shape, weight.dtype) for weight in weights],
            dict.fromkeys(_SUMS, tf.constant(0.0)),
        )
        if not self.synchronises:
            return tf.while_loop(
                lambda number, _: number < self.accumulate_steps,
                lambda number, so_far: (number + 1, add(number, so_far)),
                (tf.constant(0), total),
                parallel_iterations=1,
            )[1]
        # Not every engine can all-reduce inside a loop in the graph.
        for number in range(self.accumulate_steps):
            with tf.control_dependencies(tf.nest.flatten(total)):
                total = add(number, total)
        return total

    def _micro_batch(
        self,
        train: state.TrainState,
        batch: spec.Batch,
        number: tf.Tensor | int,
    ) -> tuple[Gradients, Values]:
        rows = self._rows(train, batch, number)
        images = self.preprocess(
            batch[spec.IMAGE], augments=self.augments, rows=rows
        )
        mask = batch[spec.MASK]
        images, targets = self.objective.mix(
            images, batch[spec.LABEL], mask, rows
        )
        shares = self.engine.num_replicas * self.accumulate_steps
        weights = [v.value for v in train.updater.weights]
        # Nothing is recorded below the first block that learns.
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(weights)
            with layers.random_rows(rows.seed, rows.first), self._statistics():
                logits = train.model(images, training=True)
            per_example = self.objective(targets, logits) * mask
            # Penalties do not depend on the rows: each share adds its part.
            penalty = sum(train.model.losses, start=tf.constant(0.0))
            share_of_all = (
                tf.reduce_sum(per_example) / self.global_batch_size
                + penalty / shares
            )
            scaled = share_of_all * train.loss_scale.scale
        gradients = tape.gradient(
            scaled,
            weights,
            unconnected_gradients=tf.UnconnectedGradients.ZERO,
        )
        correct = metrics.is_correct(logits, targets.dominant)
        sums = (per_example, correct * mask, mask)
        return gradients, {
            name: tf.reduce_sum(values)
            for name, values in zip(_SUMS, sums, strict=True)
        }

    def _rows(
        self,
        train: state.TrainState,
        batch: spec.Batch,
        number: tf.Tensor | int,
    ) -> augment_lib.Rows:
        count = batch[spec.IMAGE].shape[0]
        seed = tf.stack([self.seed, tf.cast(train.step, tf.int32)])
        first_of_all = number * (
            self.global_batch_size // self.accumulate_steps
        )
        first = first_of_all + self.engine.replica_index() * count
        return augment_lib.Rows(seed, first, count, self.global_batch_size)

    def _all_reduce(
        self, gradients: Gradients, sums: Values
    ) -> tuple[Gradients, Values]:
        """Adds up over all replicas; gradients in their format on the wire."""
        if self.gradient_compression == "none":
            reduced = self.engine.all_reduce([*gradients, *sums.values()])
            gradients = reduced[: len(gradients)]
            totals = reduced[len(gradients) :]
        else:
            narrow = tf.dtypes.as_dtype(self.gradient_compression)
            totals = self.engine.all_reduce(list(sums.values()))
            reduced = self.engine.all_reduce(
                [tf.cast(gradient, narrow) for gradient in gradients]
            )
            gradients = [tf.cast(g, tf.float32) for g in reduced]
        return gradients, dict(zip(sums, totals, strict=True))

    def _update(
        self,
        train: state.TrainState,
        gradients: Gradients,
        sums: Values,
        before: statistics.Remembered,
    ) -> Values:
        """Updates the state from the sums, on every replica alike.

        Args:
            train: Updated in place.
            gradients: Scaled, of the global batch.
            sums: Over the global batch.
            before: The moving statistics as they were before this step.
        """
        gradients = train.loss_scale.unscale(gradients)
        # Any inf or nan, on any replica, is in this sum on all of them.
        norm = tf.linalg.global_norm(gradients)
        finite = tf.math.is_finite(norm)
        gradients = self._clip(gradients, norm)
        learning_rate = self.phase.learning_rate(train.step)

        def apply() -> None:
            train.updater.apply(gradients, learning_rate)
            if train.average is not None:
                train.average.update(train.updates)

        tf.cond(finite, apply, before.restore)
        train.loss_scale.update(finite)
        in_a_row = train.history.skipped_in_a_row.read_value() + 1
        in_a_row = tf.where(finite, tf.zeros_like(in_a_row), in_a_row)
        train.history.skipped_in_a_row.assign(in_a_row)
        train.step.assign_add(1)
        return sums | {
            "gradient_norm": norm,
            "learning_rate": learning_rate,
            "skipped": 1 - tf.cast(finite, tf.float32),
            "skipped_in_a_row": tf.cast(in_a_row, tf.float32),
        }

    @property
    def synchronises(self) -> bool:
        """Whether batch norm sees the rows of all replicas."""
        return self.batch_norm == "sync" and self.engine.num_replicas > 1

    def _statistics(self) -> contextlib.AbstractContextManager[None]:
        if not self.synchronises:
            return contextlib.nullcontext()
        replicas = self.engine.num_replicas

        def mean(value: tf.Tensor) -> tf.Tensor:
            return self.engine.all_reduce([value])[0] / replicas

        return layers.cross_replica(mean, replicas)

    def _clip(self, gradients: Gradients, norm: tf.Tensor) -> Gradients:
        largest = self.phase.optimizer.clip_norm
        if largest is None:
            return gradients
        factor = largest / tf.maximum(norm, largest)
        return [g * factor for g in gradients]
