"""Progressive resizing: a training that begins with smaller images.

Early epochs learn nearly as much from small images, and cost less by the
square of their side. The weights, and all else of a run, are the same
variables at any size.

Source: Tan and Le 2021, "EfficientNetV2", arXiv:2104.00298, section 4.
"""

import dataclasses
import re
from collections.abc import Iterable, Sequence

import keras

from input import augment as augment_lib
from input import resizing
from trainer import duration, errors

_NAME = "train.progressive_resizing"
_PATTERN = re.compile(r"\s*(\d+) until (.+)")


@dataclasses.dataclass(frozen=True)
class Stage:
    """A part of a run with smaller images.

    Attributes:
        height: Of the images, in pixels.
        width: Of the images, in pixels.
        until: Steps of the run after which it ends.
    """

    height: int
    width: int
    until: int


def stages(
    texts: Sequence[str],
    image_shape: tuple[int, int, int],
    horizon: duration.Horizon,
) -> list[Stage]:
    """Reads the stages of a run, such as ``["128 until 30 epochs"]``.

    Args:
        texts: Of each stage the shorter side of its images, in pixels, and
            when it ends; the sides grow.
        image_shape: Of the data; what is left of the run has it whole.
        horizon: Length of the run.

    Raises:
        errors.ConfigError: A text is something else, or a stage is not after
            the one before it, not larger, or not smaller than the data.
    """
    found: list[Stage] = []
    full = min(image_shape[:2])
    side, until = 0, 0
    for text in texts:
        match = _PATTERN.fullmatch(text)
        if not match:
            raise errors.ConfigError(
                f"{_NAME}: {text!r} must say how large and until when, for "
                'example "128 until 30 epochs".'
            )
        shorter = int(match.group(1))
        end = duration.parse(match.group(2), _NAME)
        step = end.steps(horizon.steps_per_epoch)
        if not side < shorter < full:
            raise errors.ConfigError(
                f"{_NAME}: {shorter} in {text!r} must be above {side} and "
                f"below {full}, the shorter side of the data's images: sizes "
                "grow up to that. Leave out the last stage, which has it."
            )
        if not until < step < horizon.total_steps:
            raise errors.ConfigError(
                f"{_NAME}: {text!r} ends at step {step}, which must be after "
                f"step {until} and before the end of the run, step "
                f"{horizon.total_steps}."
            )
        side, until = shorter, step
        height, width = (round(n * side / full) for n in image_shape[:2])
        found.append(Stage(height, width, until))
    return found


def at(schedule: Iterable[Stage], step: int) -> Stage | None:
    """Returns the stage that the step after `step` steps is in, if any."""
    return next((s for s in schedule if step < s.until), None)


def augments(
    stage: Stage | None, chosen: Sequence[augment_lib.Augment]
) -> list[augment_lib.Augment]:
    """Returns what is done to images on the device in a stage, if in one."""
    if stage is None:
        return list(chosen)
    return [resizing.resize(stage.height, stage.width), *chosen]


def view(model: keras.Model, stage: Stage) -> keras.Model:
    """Returns a model of the same layers and variables for smaller images.

    Args:
        model: Built for the data's images.
        stage: Says how large they are.

    Raises:
        errors.ConfigError: A layer cannot take them: it has weights for each
            place, such as a dense layer after flattening.
    """
    images = keras.Input((stage.height, stage.width, model.input_shape[-1]))
    try:
        return keras.models.clone_model(
            model, input_tensors=images, clone_function=lambda layer: layer
        )
    except ValueError as error:
        raise errors.ConfigError(
            f"{_NAME}: the model {model.name!r} cannot take images of "
            f"{stage.height} x {stage.width} pixels. Choose a model that "
            "averages over the image before its head, such as @resnet, larger "
            "images, or no stages."
        ) from error
