"""A decoder that holds everything up."""

import dataclasses
import time

import numpy as np
import tensorflow as tf

from input import dataset

PAUSE = 0.004


@dataclasses.dataclass(frozen=True)
class Slow:
    """A decoder that takes its time."""

    def output_shape(self, info: dataset.DatasetInfo) -> tuple[int, int, int]:
        return (4, 4, 1)

    def __call__(
        self, encoded: tf.Tensor, seed: tf.Tensor, shape: tuple[int, int, int]
    ) -> tf.Tensor:
        def wait(bytes_: bytes) -> np.ndarray:
            time.sleep(PAUSE)
            return np.zeros(shape, np.uint8)

        image = tf.numpy_function(wait, [encoded], tf.uint8)
        return tf.ensure_shape(image, shape)
