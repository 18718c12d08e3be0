"""A network as one function with its weights inside, for converters.

TensorFlow Lite's converter and tf2onnx read graphs. With the variables of a
Keras model in them, what came out gave NaN; as constants they are read right,
and batch norm is folded into the convolutions.
"""

from typing import Any

import tensorflow as tf
from tensorflow.python.framework import convert_to_constants

from trainer import inference

INPUT = "images"
OUTPUT = "probabilities"


def function(
    classifier: inference.Classifier,
    batch_size: int | None,
    dtype: tf.DType = tf.uint8,
) -> Any:
    """Returns a tf.function from `images` to a dict with `probabilities`.

    Args:
        classifier: The network.
        batch_size: Rows it takes; None: any number.
        dtype: Of the images, whose levels are 0..255: uint8 or float32.
    """
    spec = tf.TensorSpec(
        [batch_size, *classifier.info.image_shape], dtype, name=INPUT
    )

    def probabilities(images: tf.Tensor) -> tf.Tensor:
        return classifier(images)[OUTPUT]

    live = tf.function(probabilities, autograph=False)
    frozen = convert_to_constants.convert_variables_to_constants_v2(
        live.get_concrete_function(spec)
    )
    return tf.function(
        lambda images: {OUTPUT: frozen(images)[0]},
        input_signature=[spec],
        autograph=False,
    )
