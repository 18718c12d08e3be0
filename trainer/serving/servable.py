"""One version of an exported model: what it says of itself, and its calls."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging
from google.protobuf import json_format
from tensorflow.core.protobuf import saved_model_pb2

from trainer.serving import batcher

CARD = os.path.join("assets.extra", "lockstep.json")
GRAPH = "saved_model.pb"
ENCODED = "serving_default"
TENSORS = "tensors"
# The one input of each signature.
INPUTS = {ENCODED: "image_bytes", TENSORS: "images"}
# Bytes that end in zeros would lose them in NumPy's own type.
_TYPES = {ENCODED: np.object_, TENSORS: np.uint8}
PROBABILITIES = "probabilities"
_FORMAT = 1
_ACTIVATIONS = ("softmax", "sigmoid")

# The outputs of one picture by name, [classes] each.
Outputs = Mapping[str, np.ndarray]


class LoadError(ValueError):
    """What was found is no model that can be served; the message says why."""


class BadPictureError(ValueError):
    """The model cannot compute this picture."""


@dataclasses.dataclass(frozen=True)
class Card:
    """What an export says of its model.

    Attributes:
        class_names: By number of the class.
        image_shape: [H, W, C] of `tensors`.
        activation: "softmax": one class a picture; "sigmoid": any number.
        step: Of the training.
    """

    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    activation: str
    step: int


def read_card(path: str) -> Card:
    """Reads what the export of a version folder says of it.

    Raises:
        LoadError: There is nothing, or it is not what trainer.export writes.
    """
    file = os.path.join(path, CARD)
    try:
        with tf.io.gfile.GFile(file, "rb") as opened:
            found = json.loads(opened.read())
        if found["format"] != _FORMAT:
            raise LoadError(
                f"{file} has the format {found['format']!r}, but this Lockstep "
                f"reads {_FORMAT}. Export the model again."
            )
        height, width, channels = map(int, found["image_shape"])
        card = Card(
            class_names=tuple(map(str, found["class_names"])),
            image_shape=(height, width, channels),
            activation=str(found["activation"]),
            step=int(found["step"]),
        )
    except (OSError, tf.errors.OpError) as error:
        raise LoadError(
            f"{file} cannot be read: only models that trainer.export has "
            "written are served."
        ) from error
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise LoadError(
            f"{file} is damaged ({error!r}). Export the model again."
        ) from error
    if card.activation not in _ACTIVATIONS:
        raise LoadError(
            f"{file}: activation is {card.activation!r}, must be one of "
            f"{', '.join(_ACTIVATIONS)}."
        )
    return card


class Servable:
    """A version that has been loaded and tried out.

    Attributes:
        version: Its number.
        card: What the export says of it.
        signatures: TensorFlow's SignatureDefs by name, as JSON has them.
    """

    def __init__(self, path: str, version: int, sizes: Sequence[int]) -> None:
        """Loads a model and computes one batch of each size with it.

        Args:
            path: The folder of the version.
            version: Its number.
            sizes: Of batches, rising.

        Raises:
            LoadError: It cannot be loaded, or is not what the card says.
        """
        self.version = version
        self.card = read_card(path)
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
        self._calls = {name: self._model.signatures[name] for name in INPUTS}
        _, inputs = self._calls[TENSORS].structured_input_signature
        wanted = tf.TensorSpec([None, *self.card.image_shape], tf.uint8)
        found = inputs.get(INPUTS[TENSORS])
        if found is None or not wanted.is_compatible_with(found):
            raise LoadError(
                f"{path}: {CARD} says that {TENSORS} takes {wanted}, but it "
                f"takes {found}."
            )
        self._try_out(path)

    def run(
        self, signature: str, pictures: Sequence[Any]
    ) -> list[Outputs | Exception]:
        """Computes a batch, filled up to one of the sizes.

        Args:
            signature: One of INPUTS.
            pictures: At least 1, at most the largest size: encoded pictures,
                or uint8 [H, W, C].

        Returns:
            For each picture its outputs, or a BadPictureError: one picture
            that cannot be decoded does not spoil the others.
        """
        count = len(pictures)
        filled = list(pictures)
        filled += filled[:1] * (batcher.padded(count, self._sizes) - count)
        try:
            outputs = self._calls[signature](
                # A list of arrays would become int32.
                **{
                    INPUTS[signature]: tf.constant(
                        np.array(filled, _TYPES[signature])
                    )
                }
            )
        except tf.errors.InvalidArgumentError as error:
            if count == 1:
                logging.warning("A picture was refused by the model: %s", error)
                return [BadPictureError("the model cannot decode it")]
            half = count // 2
            return self.run(signature, pictures[:half]) + self.run(
                signature, pictures[half:]
            )
        arrays = {name: value.numpy() for name, value in outputs.items()}
        return [
            {name: values[row] for name, values in arrays.items()}
            for row in range(count)
        ]

    def _try_out(self, path: str) -> None:
        """Compiles what is compiled at the first call, and checks the answers.

        Raises:
            LoadError: The model fails, or answers something else.
        """
        grey = np.full(self.card.image_shape, 128, np.uint8)
        samples = {ENCODED: tf.io.encode_png(grey).numpy(), TENSORS: grey}
        classes = len(self.card.class_names)
        for signature, sample in samples.items():
            for size in self._sizes:
                try:
                    answers = self.run(signature, [sample] * size)
                except Exception as error:
                    raise LoadError(
                        f"{path}: {signature} fails: {error}"
                    ) from error
                for answer in answers:
                    if isinstance(answer, Exception):
                        raise LoadError(f"{path}: {signature}: {answer}")
                    found = answer.get(PROBABILITIES)
                    if found is None or found.shape != (classes,):
                        raise LoadError(
                            f"{path}: {signature} does not answer with "
                            f"{PROBABILITIES} [b, {classes}]."
                        )
                    if not np.isfinite(found).all():
                        raise LoadError(
                            f"{path}: {signature} answers a grey picture with "
                            "probabilities that are not finite."
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
