"""Residual networks for small pictures and for ImageNet.

Sources: He et al. 2015, "Deep Residual Learning for Image Recognition",
https://arxiv.org/abs/1512.03385; the zero-initialised last gamma and the
initial weights of the classifier: Goyal et al. 2017,
https://arxiv.org/abs/1706.02677.
"""

from collections.abc import Callable

import keras

from models import ends
from models import stochastic_depth as depth_lib
from models.layers import BatchNormalization

# Blocks a stage, and whether they are bottlenecks (table 1 of the paper).
_IMAGENET_STAGES = {
    18: ((2, 2, 2, 2), False),
    34: ((3, 4, 6, 3), False),
    50: ((3, 4, 6, 3), True),
    101: ((3, 4, 23, 3), True),
    152: ((3, 8, 36, 3), True),
}
_BOTTLENECK_EXPANSION = 4

_Shortcut = Callable[[keras.KerasTensor, int, int, str], keras.KerasTensor]


def small_resnet(
    num_classes: int,
    image_shape: tuple[int, int, int],
    *,
    depth: int = 20,
    width: int = 16,
    zero_last_gamma: bool = True,
    dropout: float = 0.0,
    stochastic_depth: float = 0.0,
) -> keras.Model:
    """Builds the ResNet of the paper's CIFAR-10 experiments (section 4.2).

    Three stages of (depth - 2) / 6 basic blocks, the picture halved before
    the second and the third. Shortcuts have no parameters (option A of the
    paper: every other pixel, new channels zero), which gives ResNet-20 with
    ten classes the published 0.27 M parameters.

    Args:
        num_classes: At least 2.
        image_shape: (height, width, channels).
        depth: 6n + 2; the paper has 20, 32, 44, 56 and 110.
        width: Channels of the first stage, doubled in each of the next two.
        zero_last_gamma: Whether residual branches begin as zero.
        dropout: Share in [0, 1) of the features dropped before the classifier.
        stochastic_depth: Share in [0, 1) of the examples that go without the
            last residual branch; less for those before.

    Returns:
        A model from normalised images [batch, height, width, channels] to
        float32 logits [batch, num_classes].

    Raises:
        ValueError: If an argument is out of range.
    """
    blocks, remainder = divmod(depth - 2, 6)
    if remainder or blocks < 1:
        below = 6 * blocks + 2
        nearest = sorted({max(8, below), max(8, below + 6)})
        raise ValueError(
            f"depth={depth}: must be 6n + 2 with n at least 1; nearest valid: "
            f"{' and '.join(map(str, nearest))}."
        )
    _check_width(width)
    rates = iter(depth_lib.linear_rates(stochastic_depth, 3 * blocks))
    image = ends.images(image_shape)
    x = _convolution(image, width, 3, name="stem")
    for stage in range(3):
        for block in range(blocks):
            x = _basic_block(
                x,
                width * 2**stage,
                strides=2 if stage > 0 and block == 0 else 1,
                shortcut=_padded_shortcut,
                zero_last_gamma=zero_last_gamma,
                drop_rate=next(rates),
                name=f"stage{stage + 1}_block{block + 1}",
            )
    return _classifier(image, x, num_classes, dropout, f"small_resnet_{depth}")


def resnet(
    num_classes: int,
    image_shape: tuple[int, int, int],
    *,
    depth: int = 50,
    width: int = 64,
    zero_last_gamma: bool = True,
    dropout: float = 0.0,
    stochastic_depth: float = 0.0,
) -> keras.Model:
    """Builds the ImageNet ResNet, version 1.5.

    Version 1.5 halves the picture in the 3x3 convolution of a bottleneck and
    not in its first 1x1, as PyTorch's models do. Padding is TensorFlow's
    "same", which adds the odd pixel below and to the right.

    Args:
        num_classes: At least 2.
        image_shape: (height, width, channels).
        depth: 18, 34, 50, 101 or 152.
        width: Channels of the first stage, doubled in each of the next three.
        zero_last_gamma: Whether residual branches begin as zero.
        dropout: Share in [0, 1) of the features dropped before the classifier.
        stochastic_depth: Share in [0, 1) of the examples that go without the
            last residual branch; less for those before.

    Returns:
        A model from normalised images [batch, height, width, channels] to
        float32 logits [batch, num_classes].

    Raises:
        ValueError: If an argument is out of range.
    """
    if depth not in _IMAGENET_STAGES:
        raise ValueError(
            f"depth={depth}: must be one of "
            f"{', '.join(map(str, _IMAGENET_STAGES))}."
        )
    _check_width(width)
    stages, bottleneck = _IMAGENET_STAGES[depth]
    block_function = _bottleneck_block if bottleneck else _basic_block
    rates = iter(depth_lib.linear_rates(stochastic_depth, sum(stages)))
    image = ends.images(image_shape)
    x = _convolution(image, width, 7, strides=2, name="stem")
    x = keras.layers.MaxPooling2D(3, 2, padding="same", name="stem_pool")(x)
    for stage, blocks in enumerate(stages):
        for block in range(blocks):
            x = block_function(
                x,
                width * 2**stage,
                strides=2 if stage > 0 and block == 0 else 1,
                shortcut=_projection_shortcut,
                zero_last_gamma=zero_last_gamma,
                drop_rate=next(rates),
                name=f"stage{stage + 1}_block{block + 1}",
            )
    return _classifier(image, x, num_classes, dropout, f"resnet_{depth}")


def _check_width(width: int) -> None:
    if width < 1:
        raise ValueError(f"width={width}: must be at least 1 channel.")


def _basic_block(
    x: keras.KerasTensor,
    filters: int,
    *,
    strides: int,
    shortcut: _Shortcut,
    zero_last_gamma: bool,
    drop_rate: float,
    name: str,
) -> keras.KerasTensor:
    y = _convolution(x, filters, 3, strides=strides, name=f"{name}_1")
    y = _convolution(
        y, filters, 3, relu=False, zero_gamma=zero_last_gamma, name=f"{name}_2"
    )
    y = depth_lib.drop(y, drop_rate, name)
    return _join(y, shortcut(x, filters, strides, name), name)


def _bottleneck_block(
    x: keras.KerasTensor,
    filters: int,
    *,
    strides: int,
    shortcut: _Shortcut,
    zero_last_gamma: bool,
    drop_rate: float,
    name: str,
) -> keras.KerasTensor:
    wide = _BOTTLENECK_EXPANSION * filters
    y = _convolution(x, filters, 1, name=f"{name}_1")
    y = _convolution(y, filters, 3, strides=strides, name=f"{name}_2")
    y = _convolution(
        y, wide, 1, relu=False, zero_gamma=zero_last_gamma, name=f"{name}_3"
    )
    y = depth_lib.drop(y, drop_rate, name)
    return _join(y, shortcut(x, wide, strides, name), name)


def _padded_shortcut(
    x: keras.KerasTensor, filters: int, strides: int, name: str
) -> keras.KerasTensor:
    if strides == 1 and x.shape[-1] == filters:
        return x
    # Pooling of 1 x 1 picks every other pixel as a strided slice does; the
    # slice and its gradient are slow on CPU (5 % of a ResNet-20 step).
    pool = keras.layers.AveragePooling2D(
        1, strides, name=f"{name}_shortcut_pool"
    )
    kept = pool(x)
    # The channels double: [b, h, w, filters / 2] twice.
    return keras.layers.Concatenate(name=f"{name}_shortcut")(
        [kept, keras.ops.zeros_like(kept)]
    )


def _projection_shortcut(
    x: keras.KerasTensor, filters: int, strides: int, name: str
) -> keras.KerasTensor:
    if strides == 1 and x.shape[-1] == filters:
        return x
    return _convolution(
        x, filters, 1, strides=strides, relu=False, name=f"{name}_shortcut"
    )


def _join(
    branch: keras.KerasTensor, shortcut: keras.KerasTensor, name: str
) -> keras.KerasTensor:
    x = keras.layers.Add(name=f"{name}_add")([branch, shortcut])
    return keras.layers.Activation("relu", name=f"{name}_relu")(x)


def _convolution(
    x: keras.KerasTensor,
    filters: int,
    kernel: int,
    *,
    strides: int = 1,
    relu: bool = True,
    zero_gamma: bool = False,
    name: str,
) -> keras.KerasTensor:
    """Convolution, batch norm and, unless `relu` is False, the activation."""
    x = keras.layers.Conv2D(
        filters,
        kernel,
        strides,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )(x)
    x = BatchNormalization(
        gamma_initializer="zeros" if zero_gamma else "ones", name=f"{name}_norm"
    )(x)
    return (
        keras.layers.Activation("relu", name=f"{name}_relu")(x) if relu else x
    )


def _classifier(
    image: keras.KerasTensor,
    x: keras.KerasTensor,
    num_classes: int,
    dropout: float,
    name: str,
) -> keras.Model:
    logits = ends.classifier(x, num_classes, dropout)
    return keras.Model(image, logits, name=name)
