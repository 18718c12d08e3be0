"""One version of an exported model: what it says of itself, and its calls."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from tensorflow.core.protobuf import saved_model_pb2

from trainer import artefact_info, errors
from trainer import export_saved_model as saved_model
from trainer.serving import batcher, pictures

GRAPH = "saved_model.pb"
ENCODED = saved_model.BY_ENCODED
PIXELS = saved_model.BY_PIXELS
# The one input of each signature.
INPUTS = {ENCODED: saved_model.ENCODED, PIXELS: saved_model.PIXELS}
PROBABILITIES = "probabilities"
# Of a probability of one picture, computed in two ways by the same network.
_TOLERANCE = 1e-3

# The outputs of one picture by name, [classes] each.
Outputs = Mapping[str, np.ndarray]


class LoadError(ValueError):
    """What was found is no model that can be served; the message says why."""


class Servable:
    """A version that has been loaded and tried out.

    Attributes:
        info: What the export says of it.
        signatures: TensorFlow's SignatureDefs by name, as JSON has them.
        read: Makes what `run` takes of an encoded picture, in any thread.
    """

    def __init__(
        self, path: str, sizes: Sequence[int], max_pixels: int
    ) -> None:
        """Loads a model and computes one batch of each size with it.

        Args:
            path: The folder of the version.
            sizes: Of batches, rising.
            max_pixels: See `pictures.Reader`.

        Raises:
            LoadError: It cannot be loaded, or is not what it says it is.
        """
        try:
            self.info = artefact_info.read(path)
            self.read = pictures.Reader(self.info, max_pixels)
        except errors.ConfigError as error:
            raise LoadError(str(error)) from error
        self.signatures = _signatures(path)
        self._sizes = sizes
        try:
            self._model = tf.saved_model.load(path)
        # A damaged file raises whatever comes first of TensorFlow's readers.
        except Exception as error:
            raise LoadError(f"{path} cannot be loaded: {error}") from error
        missing = set(INPUTS) - set(self._model.signatures)
        if missing:
            raise LoadError(
                f"{path} has no signature {', '.join(sorted(missing))}: only "
                "models that trainer.export has written are served."
            )
        self._call = self._model.signatures[PIXELS]
        self._check_input(path)
        self._try_out(path)

    def run(self, images: Sequence[np.ndarray]) -> list[Outputs]:
        """Computes a batch, filled up to one of the sizes.

        Args:
            images: At least 1, at most the largest size: uint8 [H, W, C].

        Returns:
            The outputs of each.
        """
        size = batcher.padded(len(images), self._sizes)
        batch = np.zeros((size, *self.info.image_shape), np.uint8)
        np.stack(images, out=batch[: len(images)])
        outputs = self._call(**{INPUTS[PIXELS]: tf.constant(batch)})
        arrays = {name: value.numpy() for name, value in outputs.items()}
        return [
            {name: values[row] for name, values in arrays.items()}
            for row in range(len(images))
        ]

    def _check_input(self, path: str) -> None:
        _, inputs = self._call.structured_input_signature
        wanted = tf.TensorSpec([None, *self.info.image_shape], tf.uint8)
        found = inputs.get(INPUTS[PIXELS])
        if found is None or not wanted.is_compatible_with(found):
            raise LoadError(
                f"{path}: {artefact_info.FILE_NAME} says that {PIXELS} takes "
                f"{wanted}, but it takes {found}."
            )

    def _try_out(self, path: str) -> None:
        """Compiles what is compiled at the first call, and checks the answers.

        Raises:
            LoadError: The model fails, or answers something else.
        """
        shape = self.info.image_shape
        # Of a linear one, every central crop has the same mean.
        shades = 255 * np.linspace(0, 1, int(np.prod(shape))) ** 2
        picture = shades.reshape(shape).astype(np.uint8)
        encoded = tf.io.encode_png(picture).numpy()
        try:
            image = self.read(encoded)
            for size in self._sizes:
                (answer, *_) = self.run([image] * size)
            by_graph = self._model.signatures[ENCODED](
                **{INPUTS[ENCODED]: tf.constant([encoded])}
            )
        except Exception as error:
            raise LoadError(f"{path} fails: {error}") from error
        classes = len(self.info.class_names)
        found = answer.get(PROBABILITIES)
        if found is None or found.shape != (classes,):
            raise LoadError(
                f"{path}: {PIXELS} does not answer with {PROBABILITIES} "
                f"[b, {classes}]."
            )
        if not np.isfinite(found).all():
            raise LoadError(
                f"{path} answers a picture with probabilities that are not "
                "finite."
            )
        off = np.abs(by_graph[PROBABILITIES][0] - found).max()
        if off > _TOLERANCE:
            raise LoadError(
                f"{path}: {ENCODED} and {PIXELS} differ by {off:.3g} for the "
                f"same picture: {artefact_info.FILE_NAME} names another "
                "decoder than the model has. Export it again."
            )


def _signatures(path: str) -> dict[str, Any]:
    file = os.path.join(path, GRAPH)
    try:
        with tf.io.gfile.GFile(file, "rb") as opened:
            saved = saved_model_pb2.SavedModel.FromString(opened.read())
        definitions = saved.meta_graphs[0].signature_def
    # DecodeError is a class of the protobuf in use, and no ValueError.
    except Exception as error:
        raise LoadError(f"{file} cannot be read: {error}") from error
    return {
        name: json_format.MessageToDict(
            definitions[name],
            preserving_proto_field_name=True,
            always_print_fields_with_no_presence=True,
        )
        for name in definitions
        if name in INPUTS
    }
