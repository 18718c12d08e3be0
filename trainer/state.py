"""Everything that training changes, and its names on disk."""

import dataclasses

import keras
import tensorflow as tf

from trainer import optimizers, precision


@dataclasses.dataclass(frozen=True)
class TrainState:
    """The variables of a run; created in the scope of its engine.

    Attributes:
        step: int64 scalar, optimizer steps taken; also the data cursor and
            the seed of augmentation.
        model: The network, moving statistics of batch norm included.
        updater: The optimizer's slots.
        loss_scale: Of `mixed_float16`; fixed at 1 otherwise.
    """

    step: tf.Variable
    model: keras.Model
    updater: optimizers.Updater
    loss_scale: precision.LossScale

    def variables(self) -> dict[str, tf.Variable]:
        """Returns all variables by the names they have in a checkpoint."""
        named = {
            "step": self.step,
            "loss_scale/scale": self.loss_scale.scale,
            "loss_scale/good_steps": self.loss_scale.good_steps,
        }
        named |= {f"model/{v.path}": v.value for v in self.model.variables}
        named |= {
            f"optimizer/{v.path}": v.value for v in self.updater.variables
        }
        return named


def create(
    model: keras.Model,
    optimizer: optimizers.Optimizer,
    number_format: precision.Precision,
) -> TrainState:
    """Returns the state of a run that has not taken a step."""
    return TrainState(
        step=tf.Variable(0, dtype=tf.int64, trainable=False, name="step"),
        model=model,
        updater=optimizers.Updater(optimizer, model.trainable_variables),
        loss_scale=precision.LossScale(number_format == "mixed_float16"),
    )
