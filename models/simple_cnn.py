"""The plain convolutional network of textbooks."""

from collections.abc import Sequence

import keras

from models import ends
from models.layers import Dropout


def simple_cnn(
    num_classes: int,
    image_shape: tuple[int, int, int],
    *,
    filters: Sequence[int] = (32, 64, 128),
    dense: int = 128,
    dropout: float = 0.5,
    l1: float = 0.0,
    l2: float = 0.0,
) -> keras.Model:
    """Builds 3x3 convolutions with 2x2 max-pooling, then two dense layers.

    The penalties on the weights are in `model.losses`, for the trainer to add
    to the loss.

    Args:
        num_classes: At least 2.
        image_shape: (height, width, channels); every stage halves height and
            width, rounded down, and must leave at least one pixel.
        filters: Channels of each convolution.
        dense: Units of the hidden dense layer.
        dropout: Share in [0, 1) of the hidden units dropped in training.
        l1: Penalty on the sum of the absolute weights, biases excepted.
        l2: Penalty on the sum of the squared weights, biases excepted.

    Returns:
        A model from normalised images [batch, height, width, channels] to
        float32 logits [batch, num_classes].

    Raises:
        ValueError: If an argument is out of range.
    """
    for name, value in (("l1", l1), ("l2", l2)):
        if value < 0.0:
            raise ValueError(f"{name}={value}: must not be negative.")
    if dense < 1 or not filters or min(filters) < 1:
        raise ValueError(
            f"filters={tuple(filters)}, dense={dense}: must be positive, and "
            "at least one convolution."
        )
    image = ends.images(image_shape)
    most = min(image_shape[:2]).bit_length() - 1
    if len(filters) > most:
        raise ValueError(
            f"filters={tuple(filters)}: {len(filters)} poolings leave nothing "
            f"of a picture of {image_shape[0]} x {image_shape[1]}; give at "
            f"most {most} filters or larger pictures."
        )

    def penalty() -> keras.regularizers.Regularizer | None:
        return keras.regularizers.L1L2(l1, l2) if l1 or l2 else None

    x = image
    for stage, channels in enumerate(filters, start=1):
        x = keras.layers.Conv2D(
            channels,
            3,
            padding="same",
            activation="relu",
            kernel_initializer="he_normal",
            kernel_regularizer=penalty(),
            name=f"conv{stage}",
        )(x)
        x = keras.layers.MaxPooling2D(2, name=f"pool{stage}")(x)
    x = keras.layers.Flatten(name="flatten")(x)
    x = keras.layers.Dense(
        dense,
        activation="relu",
        kernel_initializer="he_normal",
        kernel_regularizer=penalty(),
        name="dense",
    )(x)
    x = Dropout(dropout, name="dropout")(x)
    x = ends.logits(x, num_classes, penalty())
    return keras.Model(image, x, name="simple_cnn")
