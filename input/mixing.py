"""Mixing pairs of examples on the device: mixup and CutMix.

Each example has a partner in its own batch, the same at any number of
replicas: examples stand in blocks of two, and the two of a block are partners.
The data is shuffled, so that in another epoch it is another one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from input import augment

# Of the quantiles of the Beta distribution, which are interpolated.
_TABLE = 4096


@dataclasses.dataclass(frozen=True)
class Pairs:
    """The examples of a replica and the partner of each.

    Attributes:
        images: float32 [b, height, width, channels].
        partners: Their images, in the same order.
        rows: Which rows of which global batch these are.
        allowed: bool [b], whether an example may be mixed with its partner.
    """

    images: tf.Tensor
    partners: tf.Tensor
    rows: augment.Rows
    allowed: tf.Tensor


# From pairs to mixed images and the share of each that is its own, float32 [b].
Mixing = Callable[[Pairs], tuple[tf.Tensor, tf.Tensor]]


def mixup(alpha: float = 0.2, probability: float = 1.0) -> Mixing:
    """Blends each example with its partner.

    Args:
        alpha: Of the Beta(alpha, alpha) distribution of the shares, above 0;
            each example draws its own.
        probability: Share of the examples that are mixed, in [0, 1].

    Raises:
        ValueError: A value is out of range.

    Source: Zhang et al. 2017, arXiv:1710.09412.
    """
    quantiles = _beta_quantiles("alpha", alpha)
    augment.check_probability(probability)

    def apply(pairs: Pairs) -> tuple[tf.Tensor, tf.Tensor]:
        share = _interpolate(quantiles, pairs.rows.uniform("mixup/share"))
        share = _where_mixed(pairs, "mixup", probability, share)
        own = share[:, None, None, None]
        return own * pairs.images + (1 - own) * pairs.partners, share

    return apply


def cutmix(alpha: float = 1.0, probability: float = 1.0) -> Mixing:
    """Pastes a box of its partner into each example.

    The box has the shape of the image, its centre anywhere, and is cut off at
    the border; the share of an example is what is left of its pixels.

    Args:
        alpha: Of the Beta(alpha, alpha) distribution of the shares, above 0;
            each example draws its own.
        probability: Share of the examples that are mixed, in [0, 1].

    Raises:
        ValueError: A value is out of range.

    Source: Yun et al. 2019, arXiv:1905.04899.
    """
    quantiles = _beta_quantiles("alpha", alpha)
    augment.check_probability(probability)

    def apply(pairs: Pairs) -> tuple[tf.Tensor, tf.Tensor]:
        _, height, width, _ = pairs.images.shape
        share = _interpolate(quantiles, pairs.rows.uniform("cutmix/share"))
        share = _where_mixed(pairs, "cutmix", probability, share)
        side = tf.sqrt(1 - share)
        down = _span(pairs.rows, "cutmix/top", height, side)
        across = _span(pairs.rows, "cutmix/left", width, side)
        # [b, height, 1, 1] and [b, 1, width, 1].
        box = down[:, :, None, None] & across[:, None, :, None]
        pasted = tf.reduce_mean(tf.cast(box, tf.float32), axis=[1, 2, 3])
        return tf.where(box, pairs.partners, pairs.images), 1 - pasted

    return apply


def mixup_or_cutmix(
    mixup_alpha: float = 0.2,
    cutmix_alpha: float = 1.0,
    switch_probability: float = 0.5,
    probability: float = 1.0,
) -> Mixing:
    """Mixes each example by one of the two.

    Args:
        mixup_alpha: See `mixup`.
        cutmix_alpha: See `cutmix`.
        switch_probability: Share of the mixed examples, in [0, 1], that get
            `cutmix`; the others get `mixup`.
        probability: Share of the examples that are mixed, in [0, 1].

    Raises:
        ValueError: A value is out of range.
    """
    blend = mixup(mixup_alpha, probability)
    paste = cutmix(cutmix_alpha, probability)
    augment.check_probability(switch_probability, "switch_probability")

    def apply(pairs: Pairs) -> tuple[tf.Tensor, tf.Tensor]:
        pasted = pairs.rows.uniform("mixing/switch") < switch_probability
        blended_images, blended_share = blend(pairs)
        pasted_images, pasted_share = paste(pairs)
        return (
            tf.where(
                pasted[:, None, None, None], pasted_images, blended_images
            ),
            tf.where(pasted, pasted_share, blended_share),
        )

    return apply


def partner(values: tf.Tensor, copies: int = 1) -> tf.Tensor:
    """Returns the values of each example's partner.

    Args:
        values: [b, ...], b a multiple of `2 * copies`.
        copies: How often each example stands in the batch, one after the
            other: its partner is of another example.
    """
    # [b] -> [blocks, 2, copies]: the halves of a block change places.
    order = np.arange(values.shape[0]).reshape([-1, 2, copies])
    return tf.gather(values, order[:, ::-1].reshape([-1]))


def _where_mixed(
    pairs: Pairs, name: str, probability: float, share: tf.Tensor
) -> tf.Tensor:
    """Returns the shares; 1 for the examples that stay as they are."""
    mixed = pairs.rows.uniform(f"{name}/mixed") < probability
    return tf.where(mixed & pairs.allowed, share, 1.0)


def _span(
    rows: augment.Rows, name: str, length: int, share: tf.Tensor
) -> tf.Tensor:
    """Returns bool [b, length]: true in a span around a random centre.

    Args:
        rows: Draw the centre.
        name: Of the draw.
        length: Pixels.
        share: float32 [b], of the span in `length`, in [0, 1].
    """
    centre = rows.uniform(name, 0, length, tf.int32)[:, None]
    size = tf.cast(tf.round(share * length), tf.int32)[:, None]
    start = centre - size // 2
    place = tf.range(length)[None]
    return (place >= start) & (place < start + size)


def _beta_quantiles(name: str, alpha: float) -> np.ndarray:
    """Returns float32 [_TABLE + 1]: quantiles of Beta(alpha, alpha).

    Gamma draws, of which a Beta could be made, do not compile with XLA.
    """
    if not alpha > 0:
        raise ValueError(
            f"{name}={alpha} must be above 0: the smaller, the closer a mixed "
            "example is to one of the two."
        )
    # Close to the ends, where most of it is for a small alpha.
    logits = np.linspace(-80, 0, 1 << 14)
    places = 1 / (1 + np.exp(-logits))
    with tf.device("CPU"):
        levels = tf.math.betainc(
            tf.constant(alpha, tf.float64),
            tf.constant(alpha, tf.float64),
            tf.constant(places),
        ).numpy()
    wanted = np.linspace(0, 0.5, _TABLE // 2 + 1)
    lower = np.interp(wanted, levels, places)
    return np.concatenate([lower, 1 - lower[-2::-1]]).astype(np.float32)


def _interpolate(quantiles: np.ndarray, level: tf.Tensor) -> tf.Tensor:
    """Returns the quantiles at levels in [0, 1), of the same shape."""
    place = level * _TABLE
    below = tf.minimum(tf.cast(place, tf.int32), _TABLE - 1)
    left = tf.gather(quantiles, below)
    right = tf.gather(quantiles, below + 1)
    return left + (place - tf.cast(below, tf.float32)) * (right - left)
