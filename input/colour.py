"""Augmentations that change colours and levels, as Pillow does, not places.

Each works on whole levels and gives whole levels, on pictures of 1 or 3
channels. Amounts are drawn from 256 evenly spaced ones (input/menu.py).
"""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from input import augment, menu, operations

_STEPS = 256


def random_brightness(
    strength: float = 0.4, probability: float = 1.0
) -> augment.Augment:
    """Multiplies pixel values by a factor.

    Args:
        strength: The factor is in [1 - strength, 1 + strength]; in [0, 1].
        probability: Share of images to change, in [0, 1].

    Raises:
        ValueError: An argument is out of range.
    """
    return _by_factor(
        "random_brightness", menu.Operation.BRIGHTNESS, strength, probability
    )


def random_contrast(
    strength: float = 0.4, probability: float = 1.0
) -> augment.Augment:
    """Moves pixel values away from the mean grey of the image, or towards it.

    Args:
        strength: The factor is in [1 - strength, 1 + strength]; in [0, 1].
        probability: Share of images to change, in [0, 1].

    Raises:
        ValueError: An argument is out of range.
    """
    return _by_factor(
        "random_contrast", menu.Operation.CONTRAST, strength, probability
    )


def random_saturation(
    strength: float = 0.4, probability: float = 1.0
) -> augment.Augment:
    """Moves colours away from the grey of the pixel, or towards it.

    Args:
        strength: The factor is in [1 - strength, 1 + strength]; in [0, 1].
        probability: Share of images to change, in [0, 1].

    Raises:
        ValueError: An argument is out of range, or images are not in colour.
    """
    made = _by_factor(
        "random_saturation", menu.Operation.SATURATION, strength, probability
    )
    return _in_colour("random_saturation", made)


def random_sharpness(
    strength: float = 0.9, probability: float = 1.0
) -> augment.Augment:
    """Blurs or sharpens: away from the smoothed image, or towards it.

    Args:
        strength: The factor is in [1 - strength, 1 + strength]; in [0, 1]. At
            factor 0 the image is the smoothed one.
        probability: Share of images to change, in [0, 1].

    Raises:
        ValueError: An argument is out of range.
    """
    return _by_factor(
        "random_sharpness", menu.Operation.SHARPNESS, strength, probability
    )


def random_hue(
    strength: float = 0.1, probability: float = 1.0
) -> augment.Augment:
    """Turns all hues by the same part of the circle.

    Args:
        strength: Largest turn in either direction, in circles, in [0, 0.5].
        probability: Share of images to change, in [0, 1].

    Raises:
        ValueError: An argument is out of range, or images are not in colour.
    """
    if not 0 <= strength <= 0.5:
        raise ValueError(f"strength={strength} must be in [0, 0.5] circles.")
    turns = np.linspace(-strength, strength, _STEPS)
    made = _random("random_hue", menu.Operation.HUE, turns, probability)
    return _in_colour("random_hue", made)


def random_grey(probability: float = 0.1) -> augment.Augment:
    """Takes the colour out of images; they keep their three channels.

    Args:
        probability: Share of images to change, in [0, 1].

    Raises:
        ValueError: `probability` is out of range, or images are not in colour.
    """
    made = _random("random_grey", menu.Operation.SATURATION, [0], probability)
    return _in_colour("random_grey", made)


def random_invert(probability: float = 0.5) -> augment.Augment:
    """Makes negatives: 255 minus the pixel value.

    Args:
        probability: Share of images to change, in [0, 1].

    Raises:
        ValueError: `probability` is out of range.
    """
    return _random("random_invert", menu.Operation.INVERT, [0], probability)


def random_posterise(
    bits: int = 4, probability: float = 0.5
) -> augment.Augment:
    """Keeps the highest bits of each pixel value and clears the others.

    Args:
        bits: To keep, in 1..8; 8 changes nothing.
        probability: Share of images to change, in [0, 1].

    Raises:
        ValueError: An argument is out of range.
    """
    if not 1 <= bits <= 8:
        raise ValueError(f"bits={bits} must be in 1..8.")
    return _random(
        "random_posterise", menu.Operation.POSTERISE, [bits], probability
    )


def random_solarise(
    threshold: int = 128, probability: float = 0.5
) -> augment.Augment:
    """Inverts the pixel values from a threshold on.

    Args:
        threshold: In 0..256; 0 inverts everything, 256 nothing.
        probability: Share of images to change, in [0, 1].

    Raises:
        ValueError: An argument is out of range.
    """
    if not 0 <= threshold <= 256:
        raise ValueError(f"threshold={threshold} must be in 0..256.")
    return _random(
        "random_solarise", menu.Operation.SOLARISE, [threshold], probability
    )


def random_auto_contrast(probability: float = 0.5) -> augment.Augment:
    """Stretches each channel to the whole range 0..255.

    Args:
        probability: Share of images to change, in [0, 1].

    Raises:
        ValueError: `probability` is out of range.
    """
    return _random(
        "random_auto_contrast", menu.Operation.AUTO_CONTRAST, [0], probability
    )


def random_equalise(probability: float = 0.5) -> augment.Augment:
    """Makes all levels of each channel about equally frequent.

    Args:
        probability: Share of images to change, in [0, 1].

    Raises:
        ValueError: `probability` is out of range.
    """
    return _random("random_equalise", menu.Operation.EQUALISE, [0], probability)


def _by_factor(
    name: str, operation: menu.Operation, strength: float, probability: float
) -> augment.Augment:
    if not 0 <= strength <= 1:
        raise ValueError(f"strength={strength} must be in [0, 1].")
    factors = np.linspace(1 - strength, 1 + strength, _STEPS)
    return _random(name, operation, factors, probability)


def _random(
    name: str,
    operation: menu.Operation,
    amounts: Sequence[float] | np.ndarray,
    probability: float,
) -> augment.Augment:
    """Does an operation to some images, with an amount for each."""
    augment.check_probability(probability)
    choices = [
        menu.Choice(menu.Operation.IDENTITY),
        *(menu.Choice(operation, amount) for amount in amounts),
    ]

    def draw(rows: augment.Rows) -> tf.Tensor:
        number = rows.uniform(f"{name}/amount", 1, len(choices), tf.int32)
        chosen = rows.uniform(f"{name}/chance") < probability
        return tf.where(chosen, number, 0)[None]

    return operations.as_augment(name, lambda height, width: choices, draw)


def _in_colour(name: str, made: augment.Augment) -> augment.Augment:
    def apply(images: tf.Tensor, rows: augment.Rows) -> tf.Tensor:
        if images.shape[-1] != 3:
            raise ValueError(
                f"{name} needs pictures in colour (3 channels); these have "
                f"{images.shape[-1]}. Take it out of train.augment."
            )
        return made(images, rows)

    return apply
