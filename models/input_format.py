"""What a network wants its pixels to be, in the words of its weights.

Weights that come from elsewhere were trained on pixels of a certain scale, and
are of little use on any other. The builder that loads them says so with
`attach`, and whoever feeds the network asks `of`. A network without weights of
its own has no such wish: it is given pixels normalised by the statistics of
the data set.
"""

import dataclasses
from typing import Literal

import keras

from models import ends

# Kept on the model under this name; Keras ignores it.
_ATTRIBUTE = "lockstep_input_format"

# Mean and deviation of ImageNet's training split on the scale 0..1, as Torch
# published them; the means of the networks that were trained in Caffe.
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)
_CAFFE_MEAN_RGB = (123.68, 116.779, 103.939)

Name = Literal["pixels", "unit", "signed", "imagenet", "caffe", "data"]


@dataclasses.dataclass(frozen=True)
class InputFormat:
    """How uint8 pixels become what a network was trained on.

    The network sees ``(pixels - mean) / std``, channels in the order red,
    green, blue; one that wants another order turns it inside. Grey pictures
    are repeated in three channels where there are three means.

    Attributes:
        mean: Of each channel, pixel values 0..255.
        std: Of each channel, on the same scale, at least 1.
        size: Height and width the weights were trained at, in pixels, as
            advice; None where that is not known.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    size: int | None = None

    def __post_init__(self) -> None:
        """Raises ValueError where mean and std do not go together."""
        if len(self.mean) != len(self.std) or len(self.mean) not in (1, 3):
            raise ValueError(
                f"mean={self.mean} and std={self.std} must be of the same "
                "length: 3 for colour, or 1 for grey pictures."
            )
        if min(self.std) < 1:
            raise ValueError(
                f"std={self.std} must be at least 1: it is in pixel values "
                "0..255. Multiply one on the scale 0..1 by 255."
            )

    @property
    def channels(self) -> int:
        """Channels that the network takes."""
        return len(self.mean)

    def network_shape(
        self, image_shape: tuple[int, int, int]
    ) -> tuple[int, int, int]:
        """Returns [height, width, channels] of what the network is given.

        Args:
            image_shape: Of the pictures.

        Raises:
            ValueError: The shape is none, or colour is to be fed to a network
                for grey pictures.
        """
        ends.check_shape(image_shape)
        height, width, channels = image_shape
        if channels not in (1, self.channels):
            raise ValueError(
                f"image_shape={tuple(image_shape)} has {channels} channel(s), "
                f"but the weights were trained on {self.channels}. Choose "
                "other weights, or a data set of such pictures."
            )
        return (height, width, self.channels)


def named(name: Name, size: int | None = None) -> InputFormat | None:
    """Returns a format by the name of its kind.

    Args:
        name: `pixels`: 0..255 as they are. `unit`: 0..1. `signed`: -1..1.
            `imagenet`: mean 0 and variance 1 over ImageNet. `caffe`: less the
            mean over ImageNet, 0..255. `data`: None, so that the statistics of
            the data set are taken.
        size: See `InputFormat`.
    """
    three = (1.0, 1.0, 1.0)
    mean, std = {
        "pixels": ((0.0, 0.0, 0.0), three),
        "unit": ((0.0, 0.0, 0.0), (255.0, 255.0, 255.0)),
        "signed": ((127.5, 127.5, 127.5), (127.5, 127.5, 127.5)),
        "imagenet": (
            tuple(255 * value for value in _IMAGENET_MEAN),
            tuple(255 * value for value in _IMAGENET_STD),
        ),
        "caffe": (_CAFFE_MEAN_RGB, three),
        "data": ((), ()),
    }[name]
    return InputFormat(mean, std, size) if mean else None


def attach(model: keras.Model, wanted: InputFormat | None) -> keras.Model:
    """Returns the model, which says from now on what it wants."""
    setattr(model, _ATTRIBUTE, wanted)
    return model


def of(model: keras.Model) -> InputFormat | None:
    """Returns what a model wants; None: the statistics of the data set."""
    return getattr(model, _ATTRIBUTE, None)
