"""The moving statistics of batch norm, which each replica learns by itself."""

import dataclasses
from collections.abc import Sequence

import tensorflow as tf

from trainer import engine, state


@dataclasses.dataclass(frozen=True)
class Remembered:
    """What the statistics of a state were.

    Attributes:
        values: Each variable with its value.
    """

    values: Sequence[tuple[tf.Variable, tf.Tensor]]

    def restore(self) -> None:
        """Sets the variables to what they were."""
        for variable, value in self.values:
            variable.assign(value)


def remember(train: state.TrainState) -> Remembered:
    """Returns the statistics as they are, to go back to."""
    return Remembered([(v, v.read_value()) for v in train.statistics(False)])


def average(
    on: engine.Engine, train: state.TrainState, synchronised: bool
) -> None:
    """Makes the moving statistics of all replicas their mean.

    To be called by every replica before they are read or saved. Moving
    averages are linear, so that it does not matter how often this is done.

    Args:
        on: Adds up across replicas.
        train: Whose statistics.
        synchronised: Of the step: those of batch norm are the same already.
    """
    moving = train.statistics(synchronised)
    if on.num_replicas == 1 or not moving:
        return
    sums = on.all_reduce([v.read_value() for v in moving])
    for variable, total in zip(moving, sums, strict=True):
        variable.assign(total / on.num_replicas)
