"""LiteRT (TensorFlow Lite) files: a float one, and three that are smaller.

All take `images`, uint8 [1, H, W, C] with levels 0..255 as a camera or a
decoder gives them, and give `probabilities`, [1, classes]. Normalisation is
inside. The full-integer file computes in int8 throughout and gives uint8:
a probability is value / 256.
"""

import tempfile
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import tensorflow as tf

from trainer import artefact_info, constants, errors, inference

Kind = Literal["float32", "float16", "dynamic", "int8"]

_SIGNATURE = "serving_default"


def write(
    classifier: inference.Classifier,
    path: str,
    kind: Kind,
    examples: np.ndarray,
) -> None:
    """Writes a .tflite file.

    Args:
        classifier: What to write.
        path: A local file.
        kind: `float16` stores weights in half the bytes, `dynamic` in a
            quarter (int8, computing in float32 but for the largest products),
            `int8` computes in int8 as well.
        examples: Of the training split, uint8 [n, H, W, C]: from their
            activations the scales of `int8` are taken.

    Raises:
        errors.ConfigError: The network has an operation that the format lacks.
    """
    with tempfile.TemporaryDirectory(prefix="lockstep-tflite-") as folder:
        _save(classifier, folder, kind)
        converter = tf.lite.TFLiteConverter.from_saved_model(
            folder, signature_keys=[_SIGNATURE]
        )
        _choose(converter, kind, examples)
        try:
            content = converter.convert()
        except Exception as error:  # Of several kinds, some of C++.
            raise errors.ConfigError(
                f"--formats=tflite_{kind}: the network cannot be converted: "
                f"{errors.reason(error)}. Leave this format out."
            ) from error
    with open(path, "wb") as file:
        file.write(content)
    artefact_info.attach(classifier.info, path)


def _save(classifier: inference.Classifier, folder: str, kind: Kind) -> None:
    """Writes what the converter reads: signatures are known by name there."""
    # Quantised, a float input becomes uint8 without an operation; a cast of
    # uint8 to float would stay in the graph.
    dtype = tf.float32 if kind == "int8" else tf.uint8
    module = tf.Module()
    module.infer = constants.function(classifier, 1, dtype)
    tf.saved_model.save(module, folder, signatures={_SIGNATURE: module.infer})


def _choose(converter: Any, kind: Kind, examples: np.ndarray) -> None:
    if kind == "float32":
        return
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if kind == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if kind == "int8":
        converter.representative_dataset = lambda: _calibration(examples)
        converter.target_spec.supported_ops = [
            tf.lite.OpsSet.TFLITE_BUILTINS_INT8
        ]
        converter.inference_input_type = tf.uint8
        converter.inference_output_type = tf.uint8


def _calibration(examples: np.ndarray) -> Iterator[dict[str, np.ndarray]]:
    """Yields the examples as inputs; the first with two extreme levels.

    All levels having been seen, the scale of the input is 1 and its zero 0:
    callers give pixels as they are.
    """
    for index, image in enumerate(examples.astype(np.float32)):
        if index == 0:
            image = image.copy()
            image[0, 0], image[-1, -1] = 0.0, 255.0
        yield {constants.INPUT: image[np.newaxis]}
