"""A SavedModel as one layer whose weights never change."""

import hashlib
import os
from concurrent import futures
from typing import Any

import keras
import tensorflow as tf
from tensorflow.python.framework import convert_to_constants

_USUAL = "serving_default"
_READ_BYTES = 2**24


@keras.saving.register_keras_serializable("lockstep")
class Frozen(keras.layers.Layer):
    """Calls a signature of a SavedModel on images.

    Its variables become constants, so that there is nothing to be trained, to
    be kept equal on all replicas, or to be saved in each checkpoint.

    Args:
        path: Folder of the SavedModel.
        signature: Name of what to call; None: "serving_default", or else the
            only one.
        output: Name of the output that is taken; None: there is only one.

    Attributes:
        digest: Of the files. No checkpoint has the weights, so that this alone
            tells them from others that have come to the same path.
    """

    def __init__(
        self,
        path: str,
        signature: str | None = None,
        output: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Raises ValueError where there is no such thing in the SavedModel."""
        # Its numbers are float32 in every policy.
        super().__init__(**kwargs | {"dtype": "float32", "trainable": False})
        self.folder, self.signature, self.output_name = path, signature, output
        # In a thread of its own: in the scope of a distribution strategy, which
        # is the caller's thread's, its variables could not become constants.
        with futures.ThreadPoolExecutor(1) as pool:
            loaded = pool.submit(_load, path, signature, output)
            self._function, self._gives = loaded.result()
        self.digest = _digest(path)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Raises ValueError where the signature takes other images."""
        taken = self._function.inputs[0].shape
        if not taken.is_compatible_with(input_shape):
            raise ValueError(
                f"signature={self.signature!r} of {self.folder!r} takes images "
                f"of shape {taken}, but is given {tuple(input_shape)}. Choose "
                "that size for the decoder."
            )

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Returns what the SavedModel makes of images [b, h, w, channels]."""
        made = self._function(tf.cast(inputs, tf.float32))[self._gives]
        # Nothing behind it is trained.
        return tf.stop_gradient(tf.ensure_shape(made, [None, *made.shape[1:]]))

    def compute_output_shape(
        self, input_shape: tuple[int | None, ...]
    ) -> tuple[int | None, ...]:
        """Returns the shape of the signature's output."""
        made = self._function.outputs[self._gives].shape
        return (input_shape[0], *made.as_list()[1:])

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return super().get_config() | {
            "path": self.folder,
            "signature": self.signature,
            "output": self.output_name,
        }


def digests(model: keras.Model) -> dict[str, str]:
    """Returns the digests of the SavedModels in a model, by layer."""
    return {
        layer.name: layer.digest
        for layer in model.layers
        if isinstance(layer, Frozen)
    }


def _load(
    path: str, signature: str | None, output: str | None
) -> tuple[Any, int]:
    """Returns a function without variables, and which output is wanted.

    Raises:
        ValueError: There is no such thing; says what there is.
    """
    try:
        # Functions hold their variables weakly, the whole does not.
        whole = tf.saved_model.load(path)
    except (OSError, tf.errors.OpError) as error:
        raise ValueError(
            f"path={path!r} is no SavedModel: {error} Name the folder that "
            "holds saved_model.pb."
        ) from error
    signatures = whole.signatures
    described = "; ".join(
        f"{name}: {_describe(function)}"
        for name, function in sorted(signatures.items())
    )
    if signature is None and _USUAL in signatures:
        signature = _USUAL  # Keras exports the same as "serve" as well.
    elif signature is None and len(signatures) == 1:
        (signature,) = signatures
    if signature not in signatures:
        raise ValueError(
            f"signature={signature!r} is not in the SavedModel {path!r}. "
            f"It has: {described or 'none'}. Choose one: "
            "saved_model.signature = ..."
        )
    chosen = signatures[signature]
    inputs = list(chosen.structured_input_signature[1].values())
    outputs = sorted(chosen.structured_outputs)
    if (
        len(inputs) != 1
        or inputs[0].dtype != tf.float32
        or inputs[0].shape.rank != 4
        or inputs[0].shape[0] is not None
    ):
        raise ValueError(
            f"signature={signature!r} must take one float32 batch of any size, "
            "(batch, height, width, channels). The SavedModel has: "
            f"{described}."
        )
    if output is None and len(outputs) == 1:
        (output,) = outputs
    if output not in outputs:
        raise ValueError(
            f"output={output!r} is not given by signature={signature!r}, which "
            f"gives: {', '.join(outputs)}. Choose one: saved_model.output = ..."
        )
    try:
        frozen = convert_to_constants.convert_variables_to_constants_v2(chosen)
    except ValueError as error:
        raise ValueError(
            f"path={path!r}: signature={signature!r} changes variables of its "
            "own, as layers that augment at random do, so that it cannot be "
            "frozen. Export the model without such layers, or save it as "
            f".keras and use @keras_file. TensorFlow says: {error}"
        ) from error
    # Flat, in the order of the names.
    return frozen, outputs.index(output)


def _describe(function: Any) -> str:
    def listed(specs: Any) -> str:
        return ", ".join(
            f"{name} {spec.dtype.name} {spec.shape}"
            for name, spec in sorted(specs.items())
        )

    taken = listed(function.structured_input_signature[1])
    return f"{taken} -> {listed(function.structured_outputs)}"


def _digest(folder: str) -> str:
    """Returns a number for the graph and the weights in a SavedModel."""
    found = hashlib.sha256()
    for part in ("", "variables"):
        inside = os.path.join(folder, part)
        if not tf.io.gfile.isdir(inside):
            continue
        for name in sorted(tf.io.gfile.listdir(inside)):
            # fingerprint.pb differs between two exports of the same.
            if part or name.startswith("saved_model.pb"):
                found.update(f"{part}/{name}\n".encode())
                with tf.io.gfile.GFile(os.path.join(inside, name), "rb") as f:
                    while some := f.read(_READ_BYTES):
                        found.update(some)
    return found.hexdigest()
