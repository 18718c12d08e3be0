"""Weights from a file into a model: all of them, or an error that says why."""

import os
import re
import tempfile
from collections.abc import Mapping, Sequence

import h5py
import keras
import numpy as np

_NAMES_IN_MESSAGE = 5

Shape = tuple[int, ...]


def check_same(
    path: str, expected: Mapping[str, Shape], found: Mapping[str, Shape]
) -> None:
    """Holds what a file has against what a model needs.

    Args:
        path: Of the file, for the message.
        expected: Shape of each weight of the model, by name.
        found: Shape of each weight in the file.

    Raises:
        ValueError: They differ; says in what.
    """
    shapes = [
        f"{name} {found[name]} there, {expected[name]} here"
        for name in expected
        if name in found and found[name] != expected[name]
    ]
    missing = [name for name in expected if name not in found]
    extra = [name for name in found if name not in expected]
    if shapes or missing or extra:
        raise ValueError(
            f"weights={path!r} is of another architecture. Of other shape: "
            f"{_some(shapes)}; missing there: {_some(missing)}; only there: "
            f"{_some(extra)}. Name a file of this one, without its classifier."
        )


def assign(
    model: keras.Model, arrays: Mapping[str, np.ndarray], path: str
) -> None:
    """Sets all variables of a model.

    Args:
        model: With names of its variables that are unique.
        arrays: By path of the variable, such as "stem_conv/kernel".
        path: Where they are from, for the message.

    Raises:
        ValueError: One is missing, too many or of another shape.
    """
    variables = {v.path: v for v in model.variables}
    check_same(
        path,
        {name: tuple(v.shape) for name, v in variables.items()},
        {name: array.shape for name, array in arrays.items()},
    )
    for name, variable in variables.items():
        variable.assign(arrays[name])


def load_h5(model: keras.Model, path: str) -> None:
    """Sets all variables of a model from a file that Keras has saved.

    Args:
        model: Of the architecture that the file is of.
        path: `.weights.h5` of Keras 3, or `.h5` as earlier ones wrote and
            keras.applications downloads.

    Raises:
        ValueError: The file is not there, or of another architecture.
    """
    if not os.path.isfile(path):
        raise ValueError(
            f"weights={path!r}: no such file. Name a .weights.h5 or .h5 file."
        )
    try:
        with h5py.File(path) as file:
            group = file.get("model_weights", file)
            by_layer = "layer_names" in group.attrs
            found = _by_layer(group) if by_layer else _datasets(file)
    except OSError as error:
        raise _damaged(path, error) from error
    if by_layer:
        _check_layers(model, path, found)
    else:
        _check_tree(model, path, found)
    model.load_weights(path)


def outputs(path: str) -> int:
    """Returns the length of the last vector in a `.weights.h5` file.

    Of a classifier that is the bias of its last layer: its classes.

    Raises:
        ValueError: The file has no weights.
    """
    try:
        with h5py.File(path) as file:
            found = _datasets(file)
    except OSError as error:
        raise _damaged(path, error) from error
    # A dense layer has a matrix and a vector; `layers/dense_1` is after
    # `layers/dense`.
    vectors = {
        name: shape
        for name, shape in found.items()
        if re.search(r"layers/dense(_\d+)?/vars/1$", name)
    }
    if not vectors:
        raise ValueError(
            f"weights={path!r} has no dense layer, so how many classes it was "
            "trained for is not known. Save the whole model as .keras."
        )
    last = max(vectors, key=lambda name: (len(name), name))
    return vectors[last][0]


def _damaged(path: str, error: Exception) -> ValueError:
    return ValueError(
        f"weights={path!r} is no HDF5 file, or is damaged: {error}."
    )


def _by_layer(group: h5py.Group) -> dict[str, Shape]:
    """Returns the weights of each layer, in order: "layer 0", "layer 1"."""
    found = {}
    for layer in group.attrs["layer_names"]:
        layer = layer.decode() if isinstance(layer, bytes) else layer
        names = group[layer].attrs["weight_names"]
        for i, name in enumerate(names):
            found[f"{layer} {i}"] = tuple(group[layer][name].shape)
    return found


def _check_layers(
    model: keras.Model, path: str, found: Mapping[str, Shape]
) -> None:
    expected = {
        f"{layer.name} {i}": tuple(weight.shape)
        for layer in model.layers
        for i, weight in enumerate(layer.weights)
    }
    # Keras numbers nameless layers on through the process: where all shapes
    # are the same in order, names do not matter.
    if list(expected.values()) != list(found.values()):
        check_same(path, expected, found)
        check_same(
            path,
            {f"weight {i}": s for i, s in enumerate(expected.values())},
            {f"weight {i}": s for i, s in enumerate(found.values())},
        )


def _check_tree(
    model: keras.Model, path: str, found: Mapping[str, Shape]
) -> None:
    # Keras alone knows under which names it would write this model.
    with tempfile.TemporaryDirectory() as folder:
        own = os.path.join(folder, "own.weights.h5")
        model.save_weights(own)
        with h5py.File(own) as file:
            expected = _datasets(file)
    check_same(path, expected, found)


def _datasets(file: h5py.File) -> dict[str, Shape]:
    found: dict[str, Shape] = {}

    def note(name: str, item: h5py.Dataset | h5py.Group) -> None:
        # That of the optimizer is left alone.
        if isinstance(item, h5py.Dataset) and not name.startswith("optimizer"):
            found[name] = tuple(item.shape)

    file.visititems(note)
    return found


def _some(names: Sequence[str]) -> str:
    if not names:
        return "none"
    shown = ", ".join(names[:_NAMES_IN_MESSAGE])
    more = len(names) - _NAMES_IN_MESSAGE
    return f"{shown} and {more} more" if more > 0 else shown
