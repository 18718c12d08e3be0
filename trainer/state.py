"""Everything that training changes, and its names on disk."""

import dataclasses
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from models import layers, summary
from trainer import ema, history, precision
from trainer import updater as updater_lib


@dataclasses.dataclass(frozen=True)
class TrainState:
    """The variables of a run; created in the scope of its engine.

    Attributes:
        step: int64 scalar, optimizer steps taken; also the seed of
            augmentation and, with `history.data_offset`, the data cursor.
        model: The network, moving statistics of batch norm included.
        updaters: The optimizer's slots in each phase of the run.
        loss_scale: Of `mixed_float16`; fixed at 1 otherwise.
        history: Skipped steps, recent losses and rollbacks.
        average: Moving average of the weights, which evaluation then uses.
        phase: Index of the phase that a step belongs to; evaluation needs none.
    """

    step: tf.Variable
    model: keras.Model
    updaters: Sequence[updater_lib.Updater]
    loss_scale: precision.LossScale
    history: history.History
    average: ema.Average | None = None
    phase: int = 0

    @property
    def updater(self) -> updater_lib.Updater:
        """The optimizer's slots in this phase, with the weights that learn."""
        return self.updaters[self.phase]

    @property
    def updates(self) -> tf.Tensor:
        """How many updates have been made in all phases, int64."""
        return tf.add_n([updater.updates for updater in self.updaters])

    def variables(self) -> dict[str, tf.Variable]:
        """Returns all variables by the names they have in a checkpoint."""
        named = {
            "step": self.step,
            "loss_scale/scale": self.loss_scale.scale,
            "loss_scale/good_steps": self.loss_scale.good_steps,
            **self.history.variables(),
        }
        named |= {f"model/{v.path}": v.value for v in self.model.variables}
        for number, updater in enumerate(self.updaters, start=1):
            # A run of one phase needs no number.
            phase = f"phase_{number}/" if len(self.updaters) > 1 else ""
            named |= {
                f"optimizer/{phase}{v.path}": v.value for v in updater.variables
            }
        if self.average is not None:
            named |= {
                f"ema/{source.path}": average
                for source, average in self.average.pairs
            }
        return named

    def arrays(self) -> dict[str, np.ndarray]:
        """Returns a copy of all variables, by the same names."""
        return {n: np.asarray(v) for n, v in self.variables().items()}

    def statistics(self, synchronised: bool) -> list[tf.Variable]:
        """Returns what replicas may know differently, each by its own rows.

        These are the moving statistics, and their averages. A frozen layer
        keeps all it has.

        Args:
            synchronised: Whether `layers.BatchNormalization` sees the rows of
                all replicas; then all know the same of it.
        """
        moving = {
            id(variable): variable
            for layer in summary.leaves(self.model)
            for variable in layer.non_trainable_variables
            if layer.trainable
            and variable.value.dtype.is_floating
            and not (
                synchronised and isinstance(layer, layers.BatchNormalization)
            )
        }
        found = [variable.value for variable in moving.values()]
        if self.average is not None:
            found += [
                average
                for source, average in self.average.pairs
                if id(source) in moving
            ]
        return found

    def logits(self, images: tf.Tensor) -> tf.Tensor:
        """Returns what evaluation sees of preprocessed images.

        It comes from the averaged weights where there are any.
        """
        if self.average is None:
            return self.model(images, training=False)
        return self.average.logits(self.model, images)


def create(
    model: keras.Model,
    updaters: Sequence[updater_lib.Updater],
    number_format: precision.Precision,
    ema_decay: float | None = None,
) -> TrainState:
    """Returns the state of a run that has not taken a step."""
    average = None
    if ema_decay is not None:
        average = ema.Average(ema_decay, model.variables)
    return TrainState(
        step=tf.Variable(0, dtype=tf.int64, trainable=False, name="step"),
        model=model,
        updaters=tuple(updaters),
        loss_scale=precision.LossScale(number_format == "mixed_float16"),
        history=history.create(),
        average=average,
    )
