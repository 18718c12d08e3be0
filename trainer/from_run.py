"""The backbone of a run of ours, under a new classifier."""

import ast
import inspect
import json
import os
from collections.abc import Callable, Mapping
from typing import Any

import keras
from absl import logging

from input import files
from models import ends, input_format, split
from models import weights as weights_lib
from trainer import config, rundir, warm_start

_NAME = "from_run.model_dir"


def from_run(
    num_classes: int,
    image_shape: tuple[int, int, int],
    *,
    model_dir: str,
    dropout: float = 0.0,
) -> keras.Model:
    """Builds the network of another run, with its weights and a new head.

    Which network it is stands in the run's operative_config.gin. The weights
    are those of its best checkpoint, or else its newest, the averages where it
    has averaged them. Pixels are normalised as in that run, whatever the
    statistics of the data now.

    Args:
        num_classes: At least 2.
        image_shape: (height, width, channels).
        model_dir: Of the run.
        dropout: Share in [0, 1) of the features dropped before the classifier.

    Returns:
        A model from images [batch, height, width, channels], normalised as
        its input format says, to float32 logits [batch, num_classes].

    Raises:
        ValueError: It is no run, its network cannot be built from what it
            says, or the weights do not fit images of this shape.
        errors.ConfigError: No checkpoint of it can be read.
    """
    found, arrays = warm_start.weights(model_dir, _NAME)
    wanted = _pixels(model_dir)
    shape = wanted.network_shape(image_shape) if wanted else image_shape
    classes = arrays["logits/bias"].shape[0]
    build, arguments = _architecture(model_dir)
    whole = build(num_classes=classes, image_shape=shape, **arguments)
    weights_lib.assign(whole, arrays, found)
    features = split.features(whole)
    logits = ends.classifier(features, num_classes, dropout)
    model = keras.Model(whole.inputs, logits, name=whole.name)
    logging.info("The backbone %r comes from %s.", whole.name, found)
    return input_format.attach(model, wanted)


def _architecture(
    model_dir: str,
) -> tuple[Callable[..., keras.Model], dict[str, Any]]:
    """Returns the builder of a run's network, and what it was called with."""
    path = os.path.join(model_dir, rundir.CONFIG)
    try:
        settings = config.settings(files.read(path).decode())
    except (FileNotFoundError, UnicodeDecodeError) as error:
        raise ValueError(
            f"model_dir={model_dir!r} has no {rundir.CONFIG} that can be read, "
            "which says what network its checkpoints are of. Name the "
            "model_dir of a run."
        ) from error
    reference = settings.get("train.model", "")
    name = reference.removeprefix("@").split("/")[-1].split(".")[-1]
    build = config.registered(name)
    if build is None:
        raise ValueError(
            f"{path} says train.model = {reference}, which is no name here. "
            "Use the version that trained it."
        )
    known = inspect.signature(build).parameters
    arguments = {
        parameter: _value(path, f"{name}.{parameter}", settings)
        for parameter in known
        if f"{name}.{parameter}" in settings
    }
    return build, arguments


def _value(path: str, name: str, settings: Mapping[str, str]) -> Any:
    text = settings[name]
    if text.startswith("%"):
        text = settings.get(text[1:], text)
    if text.startswith("@"):
        build = config.registered(text[1:].split(".")[-1])
        if build is not None:
            return build
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError) as error:
        raise ValueError(
            f"{path} says {name} = {text}, which is no plain value. Build the "
            "network by its own name, and take the weights with "
            "train.warm_start."
        ) from error


def _pixels(model_dir: str) -> input_format.InputFormat | None:
    """Returns how a run has normalised its pixels, as far as it says so."""
    path = os.path.join(model_dir, rundir.RUN)
    try:
        said = json.loads(files.read(path)).get("pixels")
        if said is not None:
            return input_format.InputFormat(
                tuple(said["mean"]), tuple(said["std"])
            )
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        pass
    logging.warning(
        "%s does not say how pixels were normalised: those of this data set "
        "are used, which suits the weights less.",
        path,
    )
    return None
