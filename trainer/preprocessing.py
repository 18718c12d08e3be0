"""From the pixels of a data set to what the network was made for."""

import functools

import keras
import tensorflow as tf

from input import augment, dataset
from models import input_format
from trainer import errors, step


def choose(
    model: keras.Model,
    info: dataset.DatasetInfo,
    image_shape: tuple[int, int, int],
) -> step.Preprocess:
    """Returns how pixels are normalised, as the weights want it.

    That is `augment.preprocess` with the mean and deviation that the builder
    of the model has attached (models/input_format.py), or those of the data
    set where it has attached none.

    Args:
        model: Of a builder.
        info: Of the data set.
        image_shape: Height, width and channels of a picture in a batch.

    Raises:
        errors.ConfigError: The model cannot take what comes out.
    """
    wanted = input_format.of(model)
    if wanted is None:
        mean, std = info.channel_mean, info.channel_std
    else:
        mean, std = wanted.mean, wanted.std
    chosen = functools.partial(augment.preprocess, mean=mean, std=std)
    made = tuple(
        tf.function(chosen, autograph=False)
        .get_concrete_function(tf.TensorSpec([1, *image_shape], tf.uint8))
        .structured_outputs.shape[1:]
    )
    taken = tuple(model.input_shape[1:])
    if len(taken) != len(made) or any(
        size not in (None, given)
        for size, given in zip(taken, made, strict=True)
    ):
        raise errors.ConfigError(
            f"The model {model.name!r} takes images of {taken}, but the data "
            f"give {made} (height, width, channels). Its builder must use the "
            "image_shape it is given, or attach an input format of as many "
            "channels (models/input_format.py)."
        )
    return chosen


def facts(preprocess: step.Preprocess) -> dict[str, list[float]]:
    """Returns the mean and deviation in use, pixel values 0..255, as JSON."""
    if not isinstance(preprocess, functools.partial):
        raise TypeError(f"{preprocess} is not of preprocessing.choose.")
    mean, std = (preprocess.keywords[name] for name in ("mean", "std"))
    # As augment.preprocess has it: less than one pixel value counts as one.
    return {"mean": list(mean), "std": [max(value, 1.0) for value in std]}


def describe(model: keras.Model, image_shape: tuple[int, int, int]) -> str:
    """Returns in one line how pixels are normalised, for people."""
    wanted = input_format.of(model)
    if wanted is None:
        return "to mean 0 and variance 1 of the training split"
    said = (
        f"as the weights expect: mean {_numbers(wanted.mean)}, "
        f"std {_numbers(wanted.std)}"
    )
    if wanted.channels != image_shape[2]:
        said += f"; grey repeated in {wanted.channels} channels"
    if wanted.size is not None and wanted.size != min(image_shape[:2]):
        said += f"; trained at {wanted.size} pixels"
    return said


def _numbers(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:.4g}" for value in values)
