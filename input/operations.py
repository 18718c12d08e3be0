"""One operation for each image of a batch, chosen by number, on the device.

Computing all operations on all images and selecting would cost as much as
doing all of them. Here

* all that is a look-up table is one look-up, all that is geometry one affine
  resampling: five kinds of work, and not fifteen operations;
* on a CPU the images go one by one, each through its own kind of work only; on
  a GPU or TPU, which want the whole batch at once, all go through each kind
  that any of them needs.

Measured with RandAugment at 224 px, as processor time on a CPU: computing all
and selecting took 5.3 times as long as one by one, and 2.6 times as long as all
at once (docs/augmentation.md).
"""

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from input import affine, augment, levels, menu

Branches = Sequence[Callable[[], tf.Tensor]]
Pick = Callable[[tf.Tensor, Branches], tf.Tensor]
_Op = menu.Operation

# Kinds of work; what is in none of them leaves the image as it is.
_KINDS: tuple[frozenset[menu.Operation], ...] = (
    frozenset(
        [
            _Op.SHEAR_X,
            _Op.SHEAR_Y,
            _Op.TRANSLATE_X,
            _Op.TRANSLATE_Y,
            _Op.ROTATE,
        ]
    ),
    frozenset(
        [
            _Op.BRIGHTNESS,
            _Op.CONTRAST,
            _Op.POSTERISE,
            _Op.SOLARISE,
            _Op.AUTO_CONTRAST,
            _Op.EQUALISE,
            _Op.INVERT,
        ]
    ),
    frozenset([_Op.SATURATION]),
    frozenset([_Op.SHARPNESS]),
    frozenset([_Op.HUE]),
)
# Look-up tables that the picture decides about; all others are in the menu.
_OWN_TABLE = tuple(
    frozenset([operation])
    for operation in (_Op.CONTRAST, _Op.AUTO_CONTRAST, _Op.EQUALISE)
)


def as_augment(
    name: str,
    choices: Callable[[int, int], Sequence[menu.Choice]],
    draw: Callable[[augment.Rows], tf.Tensor],
    interpolation: affine.Interpolation = "nearest",
    fill: float = 0.0,
) -> augment.Augment:
    """Makes an augmentation of a list of choices and a way to draw from it.

    It is compiled by XLA whether the step around it is or not: op by op, the
    same work took several times as long (docs/augmentation.md).

    Args:
        name: For messages.
        choices: Returns the list for images of a height and width.
        draw: Returns the chosen numbers in the list, int32 [layers, b].
        interpolation: Of the geometric operations.
        fill: Pixel value of what they bring in from outside, 0..255.
    """

    @tf.function(jit_compile=True, autograph=False)
    def compiled(images: tf.Tensor, numbers: tf.Tensor) -> tf.Tensor:
        _, height, width, _ = images.shape
        done = apply(
            tf.cast(images, tf.uint8),
            numbers,
            menu.make(choices(height, width), height, width),
            interpolation,
            fill=round(fill),
            one_by_one=not _accelerators(),
        )
        return tf.cast(done, tf.float32)

    def apply_to(images: tf.Tensor, rows: augment.Rows) -> tf.Tensor:
        levels.check_channels(images, name)
        return compiled(images, draw(rows))

    return apply_to


def _accelerators() -> bool:
    """Whether there is a device on which one image at a time is slow."""
    return any(tf.config.list_logical_devices(kind) for kind in ("GPU", "TPU"))


def apply(
    images: tf.Tensor,
    numbers: tf.Tensor,
    of: menu.Menu,
    interpolation: affine.Interpolation,
    fill: int,
    one_by_one: bool,
) -> tf.Tensor:
    """Does to each image what was chosen for it, one choice after the other.

    Args:
        images: uint8 [b, height, width, channels].
        numbers: int32 [layers, b], rows of the menu.
        of: The menu, for images of this size.
        interpolation: Of the geometric operations.
        fill: Level of what they bring in from outside.
        one_by_one: Whether to take the images in turn, each through its own
            kind of work, or all through all. The result is the same.

    Returns:
        uint8 of the shape of images.
    """

    def layer(images: tf.Tensor, number: tf.Tensor) -> tf.Tensor:
        if not one_by_one:
            return _layer(images, number, of, interpolation, fill, _by_where)
        return tf.map_fn(
            lambda row: _layer(
                row[0][None], row[1][None], of, interpolation, fill, _by_switch
            )[0],
            (images, number),
            fn_output_signature=tf.TensorSpec(images.shape[1:], tf.uint8),
        )

    # A loop, and not layer after layer: XLA compiles it once.
    return tf.foldl(layer, numbers, images)


def _layer(
    images: tf.Tensor,
    number: tf.Tensor,
    of: menu.Menu,
    interpolation: affine.Interpolation,
    fill: int,
    pick: Pick,
) -> tf.Tensor:
    """Does one operation to each image: uint8 [b, h, w, c], numbers [b]."""
    factor = tf.gather(of.factor, number)

    def blended(degenerate: tf.Tensor) -> tf.Tensor:
        whole = tf.cast(images, tf.int32)
        return levels.blend(degenerate, whole, factor[:, None, None, None])

    branches: Branches = (
        lambda: affine.resample(
            images, tf.gather(of.maps, number), interpolation, fill
        ),
        lambda: levels.look_up(images, _tables(images, number, of, pick)),
        lambda: blended(levels.luma(images)),
        lambda: blended(levels.smooth(images)),
        lambda: levels.turn_hue(images, factor),
    )
    return _pick_kind(_KINDS, number, of, pick, lambda: images, branches)


def _tables(
    images: tf.Tensor, number: tf.Tensor, of: menu.Menu, pick: Pick
) -> tf.Tensor:
    """Returns the look-up tables of the images: uint8 [b, c, 256]."""
    shape = [tf.shape(images)[0], images.shape[-1], 256]
    factor = tf.gather(of.factor, number)

    def fixed() -> tf.Tensor:
        return tf.broadcast_to(tf.gather(of.table, number)[:, None], shape)

    branches: Branches = (
        lambda: tf.broadcast_to(levels.contrast_table(images, factor), shape),
        lambda: levels.auto_contrast_table(images),
        lambda: levels.equalise_table(images),
    )
    return _pick_kind(_OWN_TABLE, number, of, pick, fixed, branches)


def _pick_kind(
    kinds: Sequence[frozenset[menu.Operation]],
    number: tf.Tensor,
    of: menu.Menu,
    pick: Pick,
    otherwise: Callable[[], tf.Tensor],
    branches: Branches,
) -> tf.Tensor:
    """Picks the branch of the kind that the chosen operation is of.

    What no choice of the menu needs is not even compiled.
    """
    used = [i for i, kind in enumerate(kinds) if kind & set(of.operation)]
    # [n]: 0 for `otherwise`, then the branches in use.
    place = np.zeros(len(of.operation), np.int32)
    for position, i in enumerate(used, 1):
        place[np.isin(of.operation, list(kinds[i]))] = position
    chosen = tf.gather(place, number)
    return pick(chosen, [otherwise, *(branches[i] for i in used)])


def _by_switch(chosen: tf.Tensor, branches: Branches) -> tf.Tensor:
    """Picks for one row; only the chosen branch is computed."""
    return tf.switch_case(chosen[0], branches)


def _by_where(chosen: tf.Tensor, branches: Branches) -> tf.Tensor:
    """Picks for each row; a branch that no row has chosen is not computed.

    The condition also keeps XLA from fusing the branches into one loop, in
    which it computed look-up tables anew for each pixel: 2.8 times as slow.
    """
    taken = branches[0]()
    for i, branch in enumerate(branches[1:], 1):
        mine = tf.reshape(chosen == i, [-1] + [1] * (len(taken.shape) - 1))
        taken = _where_any(mine, branch, taken)
    return taken


def _where_any(
    mine: tf.Tensor, branch: Callable[[], tf.Tensor], rest: tf.Tensor
) -> tf.Tensor:
    return tf.cond(
        tf.reduce_any(mine),
        lambda: tf.where(mine, branch(), rest),
        lambda: rest,
    )
