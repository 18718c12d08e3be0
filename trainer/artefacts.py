"""Exported models, loaded and run: one interface over all formats."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from input import files, gcs
from trainer import artefact_info, constants, errors, export_formats
from trainer import export_saved_model as saved_model

_FILES = (".tflite", ".keras", ".onnx")
_GRAPH = "saved_model.pb"


class Artefact(Protocol):
    """An exported model.

    Attributes:
        info: What it says of itself.
        ways: How it may be asked, the usual one first: `tensors` for pixels,
            `image_bytes` for encoded pictures.
    """

    info: artefact_info.Info
    ways: tuple[str, ...]

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """Returns float32 [b, classes] of uint8 [b, H, W, C]."""

    def of_encoded(self, encoded: Sequence[bytes]) -> np.ndarray:
        """Returns the same of encoded pictures, where there is that way."""


class _FromPixels:
    """What formats that take nothing but pixels have in common."""

    ways: tuple[str, ...] = ("tensors",)

    def of_encoded(self, encoded: Sequence[bytes]) -> np.ndarray:
        """Raises NotImplementedError: see `ways`."""
        raise NotImplementedError(f"{type(self).__name__} takes pixels only")


class SavedModel:
    """A version folder as TensorFlow Serving loads it."""

    ways: tuple[str, ...] = ("tensors", "image_bytes")

    def __init__(self, path: str, info: artefact_info.Info) -> None:
        self.info = info
        self._loaded = tf.saved_model.load(path)
        signatures = self._loaded.signatures
        self._by_pixels = signatures[saved_model.BY_PIXELS]
        self._by_encoded = signatures[saved_model.BY_ENCODED]

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """Returns float32 [b, classes] of uint8 [b, H, W, C]."""
        found = self._by_pixels(**{saved_model.PIXELS: tf.constant(images)})
        return found[constants.OUTPUT].numpy()

    def of_encoded(self, encoded: Sequence[bytes]) -> np.ndarray:
        """Returns the same of encoded pictures."""
        pictures = tf.constant(list(encoded), tf.string)
        found = self._by_encoded(**{saved_model.ENCODED: pictures})
        return found[constants.OUTPUT].numpy()


class Tflite(_FromPixels):
    """A LiteRT file; takes one image at a time."""

    def __init__(self, path: str, info: artefact_info.Info) -> None:
        export_formats.require(path, ("ai_edge_litert",))
        from ai_edge_litert import interpreter

        self.info = info
        self._model = interpreter.Interpreter(
            model_path=path, num_threads=len(os.sched_getaffinity(0))
        )
        self._model.allocate_tensors()
        (self._input,) = self._model.get_input_details()
        (self._output,) = self._model.get_output_details()

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """Returns float32 [b, classes] of uint8 [b, H, W, C]."""
        found = np.empty([len(images), len(self.info.class_names)], np.float32)
        for row, image in zip(found, images, strict=True):
            self._model.set_tensor(self._input["index"], image[np.newaxis])
            self._model.invoke()
            row[:] = self._model.get_tensor(self._output["index"])[0]
        scale, zero = self._output["quantization"]
        return (found - zero) * np.float32(scale) if scale else found


class Keras(_FromPixels):
    """A .keras file."""

    def __init__(self, path: str, info: artefact_info.Info) -> None:
        import keras

        # Registers the layers of our own.
        import models.registered  # noqa: F401

        self.info = info
        model = keras.saving.load_model(path, compile=False)
        self._infer = tf.function(
            lambda images: model(images, training=False), autograph=False
        )

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """Returns float32 [b, classes] of uint8 [b, H, W, C]."""
        return self._infer(tf.constant(images)).numpy()


class Onnx(_FromPixels):
    """An .onnx file, on onnxruntime."""

    def __init__(self, path: str) -> None:
        export_formats.require(path, ("onnxruntime",))
        import onnxruntime

        self._session: Any = onnxruntime.InferenceSession(
            path, providers=["CPUExecutionProvider"]
        )
        props = self._session.get_modelmeta().custom_metadata_map
        text = props.get(artefact_info.FILE_NAME, "")
        self.info = artefact_info.Info.from_json(text.encode(), path)

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """Returns float32 [b, classes] of uint8 [b, H, W, C]."""
        return self._session.run(None, {constants.INPUT: images})[0]


def load(path: str) -> Artefact:
    """Loads an exported model.

    Args:
        path: A .tflite, .keras or .onnx file, or the version folder of a
            SavedModel; see `find`.

    Raises:
        errors.ConfigError: It cannot be read, or a package is missing.
    """
    try:
        if not path.endswith(_FILES):
            return SavedModel(path, artefact_info.read(path))
        with _local(path) as local:
            if path.endswith(".onnx"):
                return Onnx(local)
            made = Tflite if path.endswith(".tflite") else Keras
            return made(local, artefact_info.read(local))
    except errors.ConfigError:
        raise
    except Exception as error:  # Each runtime has kinds of its own.
        raise errors.ConfigError(
            f"{path} cannot be loaded: {errors.reason(error)}. Export the "
            "model again."
        ) from error


def find(path: str) -> str | None:
    """Returns the artefact that a path stands for; None where there is none.

    Args:
        path: An artefact itself, the output of an export (the newest version
            of its SavedModel), or a folder between the two.

    Raises:
        errors.ConfigError: There are several models.
    """
    if path.endswith(_FILES):
        return path if files.exists(path) else None
    if files.exists(os.path.join(path, _GRAPH)):
        return path
    if versions := versions_of(path):
        return os.path.join(path, str(versions[-1]))
    models = os.path.join(path, "saved_model")
    if not _folders(models):
        models = path
    names = [n for n in _folders(models) if versions_of(f"{models}/{n}")]
    if len(names) > 1:
        raise errors.ConfigError(
            f"{path} holds several models: {', '.join(names)}. Name one: "
            f"{os.path.join(models, names[0])}"
        )
    return find(os.path.join(models, names[0])) if names else None


def versions_of(folder: str) -> list[int]:
    """Returns the versions of a SavedModel in a folder, rising."""
    return sorted(
        int(name)
        for name in _folders(folder)
        # No zeros before it, and no other scripts: it is written back.
        if name.isdecimal()
        and name == str(int(name))
        and files.exists(os.path.join(folder, name, _GRAPH))
    )


def _folders(path: str) -> list[str]:
    """Returns the names of the folders in a folder, sorted."""
    if gcs.is_remote(path):
        return sorted({n.split("/")[0] for n in gcs.sizes(path) if "/" in n})
    if not os.path.isdir(path):
        return []
    with os.scandir(path) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir())


@contextlib.contextmanager
def _local(path: str) -> Iterator[str]:
    """Yields the path of a local copy of a file on gs://."""
    if not gcs.is_remote(path):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="lockstep-model-") as folder:
        local = os.path.join(folder, os.path.basename(path))
        with open(local, "wb") as file:
            file.write(files.read(path))
        yield local
