"""RandAugment, TrivialAugment and AutoAugment: operations chosen at random.

All give whole levels, as Pillow does, on pictures of 1 or 3 channels; colour
operations leave grey pictures as they are. Ranges and rounding of the amounts
are those of torchvision, so that published settings carry over.
"""

import dataclasses
from typing import Literal

import numpy as np
import tensorflow as tf

from input import affine, augment, auto_augment_tables, operations
from input.menu import Choice, Operation

# The operations of Cubuk et al. 2019, section 3.
_OPERATIONS = (
    Operation.IDENTITY,
    Operation.SHEAR_X,
    Operation.SHEAR_Y,
    Operation.TRANSLATE_X,
    Operation.TRANSLATE_Y,
    Operation.ROTATE,
    Operation.BRIGHTNESS,
    Operation.SATURATION,
    Operation.CONTRAST,
    Operation.SHARPNESS,
    Operation.POSTERISE,
    Operation.SOLARISE,
    Operation.AUTO_CONTRAST,
    Operation.EQUALISE,
)
_BINS = 31
_AUTO_AUGMENT_BINS = 10


@dataclasses.dataclass(frozen=True)
class _Reach:
    """The largest amounts, in the units of `menu.Operation`.

    Attributes:
        shear: Columns a row.
        across: Pixels in the width.
        down: Pixels in the height.
        degrees: Of rotation.
        factor: How far factors go from 1.
        bits: That posterising takes away.
    """

    shear: float
    across: float
    down: float
    degrees: float
    factor: float
    bits: int


def _usual(height: int, width: int) -> _Reach:
    # The paper's translation is 150 pixels of 331.
    across, down = width * 150 / 331, height * 150 / 331
    return _Reach(0.3, across, down, degrees=30.0, factor=0.9, bits=4)


_WIDE = _Reach(0.99, 32.0, 32.0, degrees=135.0, factor=0.99, bits=6)


def _both_signs(
    operation: Operation, share: float, reach: _Reach
) -> tuple[Choice, Choice]:
    """Returns the operation at a share of its reach, in both directions.

    Twice the same where it has but one.
    """
    match operation:
        case Operation.SHEAR_X | Operation.SHEAR_Y:
            amounts = [share * reach.shear, -share * reach.shear]
        case Operation.TRANSLATE_X:
            amounts = [int(share * reach.across), -int(share * reach.across)]
        case Operation.TRANSLATE_Y:
            amounts = [int(share * reach.down), -int(share * reach.down)]
        case Operation.ROTATE:
            amounts = [share * reach.degrees, -share * reach.degrees]
        case (
            Operation.BRIGHTNESS
            | Operation.SATURATION
            | Operation.CONTRAST
            | Operation.SHARPNESS
        ):
            amounts = [1 + share * reach.factor, 1 - share * reach.factor]
        case Operation.POSTERISE:
            amounts = [8 - round(share * reach.bits)] * 2
        case Operation.SOLARISE:
            amounts = [255 * (1 - share)] * 2
        case _:
            amounts = [0.0, 0.0]
    return Choice(operation, amounts[0]), Choice(operation, amounts[1])


def rand_augment(
    num_ops: int = 2,
    magnitude: int = 9,
    interpolation: affine.Interpolation = "nearest",
    fill: float = 0.0,
    probability: float = 1.0,
) -> augment.Augment:
    """Does some of 14 operations in turn, all of the same strength.

    Args:
        num_ops: Operations for each image, at least 1; each is drawn from all.
        magnitude: Strength, in 0..30.
        interpolation: Of shear, translation and rotation: `nearest` or
            `bilinear`.
        fill: Pixel value of what these bring in from outside, 0..255.
        probability: Share of images to change, in [0, 1].

    Raises:
        ValueError: An argument is out of range.

    Source: Cubuk et al. 2019, arXiv:1909.13719.
    """
    if num_ops < 1:
        raise ValueError(f"num_ops={num_ops} must be at least 1.")
    if not 0 <= magnitude < _BINS:
        raise ValueError(f"magnitude={magnitude} must be in 0..{_BINS - 1}.")
    affine.check(interpolation, fill)
    augment.check_probability(probability)

    def draw(rows: augment.Rows) -> tf.Tensor:
        chosen = rows.uniform("rand_augment/chance") < probability
        # The first of the list is the identity.
        return tf.where(chosen, rand_augment_numbers(rows, num_ops), 0)

    return operations.as_augment(
        "rand_augment",
        lambda height, width: rand_augment_choices(magnitude, height, width),
        draw,
        interpolation,
        fill,
    )


def rand_augment_choices(
    magnitude: int, height: int, width: int
) -> list[Choice]:
    """Returns what RandAugment draws from: 14 operations, in both directions.

    Args:
        magnitude: Strength, in 0..30.
        height: Of the images.
        width: Of the images.
    """
    reach, share = _usual(height, width), magnitude / (_BINS - 1)
    pairs = (_both_signs(op, share, reach) for op in _OPERATIONS)
    return [choice for pair in pairs for choice in pair]


def rand_augment_numbers(rows: augment.Rows, num_ops: int) -> tf.Tensor:
    """Draws from the choices of RandAugment: int32 [num_ops, b]."""
    numbers = [
        rows.uniform(f"rand_augment/{i}", 0, 2 * len(_OPERATIONS), tf.int32)
        for i in range(num_ops)
    ]
    return tf.stack(numbers)


def trivial_augment(
    interpolation: affine.Interpolation = "nearest",
    fill: float = 0.0,
    probability: float = 1.0,
) -> augment.Augment:
    """Does one of 14 operations, with a strength drawn from a wide range.

    TrivialAugment Wide, which has nothing to tune.

    Args:
        interpolation: Of shear, translation and rotation: `nearest` or
            `bilinear`.
        fill: Pixel value of what these bring in from outside, 0..255.
        probability: Share of images to change, in [0, 1].

    Raises:
        ValueError: An argument is out of range.

    Source: Mueller and Hutter 2021, arXiv:2103.10158.
    """
    affine.check(interpolation, fill)
    augment.check_probability(probability)
    choices = [
        choice
        for operation in _OPERATIONS
        for share in np.linspace(0, 1, _BINS)
        for choice in _both_signs(operation, share, _WIDE)
    ]

    def draw(rows: augment.Rows) -> tf.Tensor:
        chosen = rows.uniform("trivial_augment/chance") < probability
        number = rows.uniform(
            "trivial_augment/number", 0, len(choices), tf.int32
        )
        return tf.where(chosen, number, 0)[None]

    return operations.as_augment(
        "trivial_augment",
        lambda height, width: choices,
        draw,
        interpolation,
        fill,
    )


def auto_augment(
    policy: Literal["imagenet", "cifar10"] = "imagenet",
    interpolation: affine.Interpolation = "nearest",
    fill: float = 0.0,
    probability: float = 1.0,
) -> augment.Augment:
    """Does one of 25 learned pairs of operations.

    Args:
        policy: The data on which the pairs were learned: `imagenet` or
            `cifar10`.
        interpolation: Of shear, translation and rotation: `nearest` or
            `bilinear`.
        fill: Pixel value of what these bring in from outside, 0..255.
        probability: Share of images to change, in [0, 1].

    Raises:
        ValueError: An argument is out of range.

    Source: Cubuk et al. 2018, arXiv:1805.09501, tables 7 and 9.
    """
    if policy not in auto_augment_tables.POLICIES:
        known = tuple(auto_augment_tables.POLICIES)
        raise ValueError(f"policy={policy!r} must be one of {known}.")
    affine.check(interpolation, fill)
    augment.check_probability(probability)
    pairs = auto_augment_tables.POLICIES[policy]
    # [2, pairs]: how often the first and the second operation are done.
    chances = tf.constant([[s.chance for s in pair] for pair in pairs])
    chances = tf.transpose(chances)

    def choices(height: int, width: int) -> list[Choice]:
        reach = _usual(height, width)
        steps = [step for pair in pairs for step in pair]
        signed = (
            _both_signs(
                step.operation, step.magnitude / (_AUTO_AUGMENT_BINS - 1), reach
            )
            for step in steps
        )
        identity = Choice(Operation.IDENTITY)
        return [identity, *(choice for both in signed for choice in both)]

    def draw(rows: augment.Rows) -> tf.Tensor:
        chosen = rows.uniform("auto_augment/chance") < probability
        pair = rows.uniform("auto_augment/pair", 0, len(pairs), tf.int32)
        layers = []
        for i in (0, 1):
            done = rows.uniform(f"auto_augment/{i}/chance") < tf.gather(
                chances[i], pair
            )
            sign = rows.uniform(f"auto_augment/{i}/sign", 0, 2, tf.int32)
            number = 1 + (pair * 2 + i) * 2 + sign
            layers.append(tf.where(chosen & done, number, 0))
        return tf.stack(layers)

    return operations.as_augment(
        "auto_augment", choices, draw, interpolation, fill
    )
