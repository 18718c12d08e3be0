"""The networks of keras.applications as backbones."""

import contextlib
import dataclasses
import difflib
import fcntl
import inspect
import os
import re
from collections.abc import Callable, Iterator
from typing import Any

import keras
from keras import applications as apps

from models import backbone, ends, input_format
from models import weights as weights_lib

_IMAGENET = input_format.named("imagenet")
_SIGNED = input_format.named("signed")
_CAFFE = input_format.named("caffe")
# (pixel / 128) - 1: EfficientNetV2-S, -M and -L.
_V2 = input_format.InputFormat((128.0,) * 3, (128.0,) * 3)


@dataclasses.dataclass(frozen=True)
class _Application:
    """A network, the pixels its weights want, and their size."""

    build: Callable[..., keras.Model]
    pixels: input_format.InputFormat | None
    size: int


APPLICATIONS = {
    "ConvNeXtTiny": _Application(apps.ConvNeXtTiny, _IMAGENET, 224),
    "ConvNeXtSmall": _Application(apps.ConvNeXtSmall, _IMAGENET, 224),
    "ConvNeXtBase": _Application(apps.ConvNeXtBase, _IMAGENET, 224),
    "ConvNeXtLarge": _Application(apps.ConvNeXtLarge, _IMAGENET, 224),
    "ConvNeXtXLarge": _Application(apps.ConvNeXtXLarge, _IMAGENET, 224),
    "DenseNet121": _Application(apps.DenseNet121, _IMAGENET, 224),
    "DenseNet169": _Application(apps.DenseNet169, _IMAGENET, 224),
    "DenseNet201": _Application(apps.DenseNet201, _IMAGENET, 224),
    "EfficientNetB0": _Application(apps.EfficientNetB0, _IMAGENET, 224),
    "EfficientNetB1": _Application(apps.EfficientNetB1, _IMAGENET, 240),
    "EfficientNetB2": _Application(apps.EfficientNetB2, _IMAGENET, 260),
    "EfficientNetB3": _Application(apps.EfficientNetB3, _IMAGENET, 300),
    "EfficientNetB4": _Application(apps.EfficientNetB4, _IMAGENET, 380),
    "EfficientNetB5": _Application(apps.EfficientNetB5, _IMAGENET, 456),
    "EfficientNetB6": _Application(apps.EfficientNetB6, _IMAGENET, 528),
    "EfficientNetB7": _Application(apps.EfficientNetB7, _IMAGENET, 600),
    "EfficientNetV2B0": _Application(apps.EfficientNetV2B0, _IMAGENET, 224),
    "EfficientNetV2B1": _Application(apps.EfficientNetV2B1, _IMAGENET, 240),
    "EfficientNetV2B2": _Application(apps.EfficientNetV2B2, _IMAGENET, 260),
    "EfficientNetV2B3": _Application(apps.EfficientNetV2B3, _IMAGENET, 300),
    "EfficientNetV2S": _Application(apps.EfficientNetV2S, _V2, 384),
    "EfficientNetV2M": _Application(apps.EfficientNetV2M, _V2, 480),
    "EfficientNetV2L": _Application(apps.EfficientNetV2L, _V2, 480),
    "InceptionResNetV2": _Application(apps.InceptionResNetV2, _SIGNED, 299),
    "InceptionV3": _Application(apps.InceptionV3, _SIGNED, 299),
    "MobileNet": _Application(apps.MobileNet, _SIGNED, 224),
    "MobileNetV2": _Application(apps.MobileNetV2, _SIGNED, 224),
    "MobileNetV3Large": _Application(apps.MobileNetV3Large, _SIGNED, 224),
    "MobileNetV3Small": _Application(apps.MobileNetV3Small, _SIGNED, 224),
    "NASNetLarge": _Application(apps.NASNetLarge, _SIGNED, 331),
    "NASNetMobile": _Application(apps.NASNetMobile, _SIGNED, 224),
    "ResNet50": _Application(apps.ResNet50, _CAFFE, 224),
    "ResNet101": _Application(apps.ResNet101, _CAFFE, 224),
    "ResNet152": _Application(apps.ResNet152, _CAFFE, 224),
    "ResNet50V2": _Application(apps.ResNet50V2, _SIGNED, 224),
    "ResNet101V2": _Application(apps.ResNet101V2, _SIGNED, 224),
    "ResNet152V2": _Application(apps.ResNet152V2, _SIGNED, 224),
    "VGG16": _Application(apps.VGG16, _CAFFE, 224),
    "VGG19": _Application(apps.VGG19, _CAFFE, 224),
    "Xception": _Application(apps.Xception, _SIGNED, 299),
}


def keras_application(
    num_classes: int,
    image_shape: tuple[int, int, int],
    *,
    name: str = "EfficientNetV2B0",
    weights: str | None = "imagenet",
    dropout: float = 0.2,
) -> keras.Model:
    """Builds a network of keras.applications with a classifier of its own.

    Its normalisation is that of its family, outside of the network; networks
    that were trained in Caffe turn the channels inside. Batch normalisation
    and dropout are ours, so that training is the same on every engine
    (models/backbone.py).

    Args:
        num_classes: At least 2.
        image_shape: (height, width, channels). With `weights`, grey pictures
            are repeated in three channels.
        name: Of the network, as in keras.applications.
        weights: "imagenet": Keras downloads them, once. A path: of a `.h5` or
            `.weights.h5` file of the same network without its top. None:
            random ones, and pixels normalised by the data's statistics.
        dropout: Share in [0, 1) of the features dropped before the classifier.

    Returns:
        A model from images [batch, height, width, channels], normalised as
        its input format says, to float32 logits [batch, num_classes].

    Raises:
        ValueError: There is no such network, it cannot take such images, or
            the weights are not there or do not fit.
    """
    if name not in APPLICATIONS:
        close = difflib.get_close_matches(name, APPLICATIONS, n=1, cutoff=0.4)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(
            f"name={name!r} is no network of keras.applications.{hint} Known: "
            f"{', '.join(APPLICATIONS)}."
        )
    chosen = APPLICATIONS[name]
    wanted = None
    shape = image_shape
    if weights is not None and chosen.pixels is not None:
        wanted = dataclasses.replace(chosen.pixels, size=chosen.size)
        shape = wanted.network_shape(image_shape)
    image = ends.images(shape)
    base = _base(name, weights, shape)
    features = backbone.rebuild(base, image, _normalises)
    logits = ends.classifier(features, num_classes, dropout)
    return input_format.attach(
        keras.Model(image, logits, name=name.lower()), wanted
    )


def _base(
    name: str, weights: str | None, shape: tuple[int, int, int]
) -> keras.Model:
    """Returns the network as Keras builds it, without its top."""
    build = APPLICATIONS[name].build
    arguments: dict[str, Any] = {
        "include_top": False,
        "input_shape": tuple(shape),
    }
    if "include_preprocessing" in inspect.signature(build).parameters:
        arguments["include_preprocessing"] = False
    if name.startswith("ConvNeXt"):
        # What normalises the features comes after the pooling.
        arguments["pooling"] = "avg"
    if weights is not None and APPLICATIONS[name].pixels is _CAFFE:
        # We have red first, their weights blue.
        arguments["input_tensor"] = keras.ops.flip(keras.Input(shape), axis=-1)
    download = weights == "imagenet"
    try:
        with _alone() if download else contextlib.nullcontext():
            base = build(weights="imagenet" if download else None, **arguments)
    except ValueError as error:
        raise ValueError(
            f"name={name!r} cannot take images of {tuple(shape)}: {error} "
            "Choose another size for the decoder, such as "
            f"{APPLICATIONS[name].size}."
        ) from error
    except Exception as error:
        raise ValueError(_not_downloaded(name, error)) from error
    if weights is not None and not download:
        weights_lib.load_h5(base, weights)
    return base


def _normalises(layer: keras.layers.Layer) -> bool:
    """EfficientNet has its normalisation inside, and no flag to leave it out.

    With ImageNet's weights it comes to (pixel / 255 - mean) / std. A file of
    weights alone lacks the last part, which Keras adds for its own.
    """
    return isinstance(
        layer, (keras.layers.Rescaling, keras.layers.Normalization)
    )


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Lets one process of a host download at a time; the others find it."""
    folder = _cache()
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, ".lockstep.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _cache() -> str:
    home = os.environ.get("KERAS_HOME", os.path.join("~", ".keras"))
    return os.path.join(os.path.expanduser(home), "models")


def _not_downloaded(name: str, error: Exception) -> str:
    found = re.search(r"https?://\S+/(\S+?)[:\s]", f"{error} ")
    file = found.group(1) if found else f"the weights of {name}"
    return (
        f'weights="imagenet" of {name} cannot be downloaded: {error}. Put '
        f"{file}, from a machine that can, into {_cache()}, or name it: "
        f"keras_application.weights = '/PATH/{file}'."
    )
