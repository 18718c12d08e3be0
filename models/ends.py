"""Both ends of every classifier: images in, float32 logits out."""

import keras

from models.layers import Dropout


def check_shape(image_shape: tuple[int, int, int]) -> None:
    """Raises ValueError unless a shape is three positive whole numbers."""
    if len(image_shape) != 3 or any(
        not isinstance(size, int) or size < 1 for size in image_shape
    ):
        raise ValueError(
            f"image_shape={image_shape}: must be (height, width, channels), "
            "three positive whole numbers, for example (32, 32, 3)."
        )


def images(image_shape: tuple[int, int, int]) -> keras.KerasTensor:
    """Returns the input [batch, H, W, C] of a model, normalised images.

    Raises:
        ValueError: If `image_shape` is not three positive whole numbers.
    """
    check_shape(image_shape)
    return keras.Input(tuple(image_shape), name="image")


def logits(
    features: keras.KerasTensor,
    num_classes: int,
    kernel_regularizer: keras.regularizers.Regularizer | None = None,
) -> keras.KerasTensor:
    """Returns float32 logits [batch, num_classes] of features [batch, n].

    They are float32 in every dtype policy, since the loss takes differences
    of exponentials. Small initial weights (Goyal et al. 2017,
    https://arxiv.org/abs/1706.02677) make the first loss about
    log(num_classes).

    Raises:
        ValueError: If there are fewer than two classes.
    """
    if num_classes < 2:
        raise ValueError(
            f"num_classes={num_classes}: must be at least 2, one logit a class."
        )
    return keras.layers.Dense(
        num_classes,
        kernel_initializer=keras.initializers.RandomNormal(stddev=0.01),
        kernel_regularizer=kernel_regularizer,
        dtype="float32",
        name="logits",
    )(features)


def classifier(
    features: keras.KerasTensor, num_classes: int, dropout: float = 0.0
) -> keras.KerasTensor:
    """Returns float32 logits [batch, num_classes] of a backbone's output.

    The head layers are called `head_dropout` and `logits`; what comes before
    them, the pooling included, belongs to the backbone.

    Args:
        features: [batch, height, width, n], averaged over all positions, or
            [batch, n], taken as they are.
        num_classes: At least 2.
        dropout: Share in [0, 1) of the features dropped in training.

    Raises:
        ValueError: The features have another rank, or an argument is out of
            range.
    """
    rank = len(features.shape)
    if rank == 4:
        # In float32: the mean over all positions is where half precision
        # hurts.
        pool = keras.layers.GlobalAveragePooling2D(dtype="float32", name="pool")
        features = pool(features)
    elif rank != 2:
        raise ValueError(
            f"The backbone gives features of shape {features.shape}; they must "
            "be (batch, height, width, n) or (batch, n). Choose another output."
        )
    if dropout:
        features = Dropout(dropout, name="head_dropout")(features)
    return logits(features, num_classes)
