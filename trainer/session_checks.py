"""Does a recipe fit the engine that it is to run on, and its own network?"""

import keras
import tensorflow as tf

from input import augment
from trainer import engine, errors, metric_checks, recipe


def check_fit(chosen: recipe.Recipe, on: engine.Engine) -> None:
    """Looks at all that can be seen before a variable is made.

    Raises:
        errors.ConfigError: The batch cannot be divided among the replicas, or
            choices do not go together on this engine or with these images.
    """
    try:
        on.host.replica_batch_size(
            chosen.global_batch_size, chosen.accumulate_steps
        )
    except ValueError as error:
        raise errors.ConfigError(f"train.{error}") from error
    _check_mixing(chosen, on)
    _check_augment(chosen)
    metric_checks.check_loss(chosen.train_data.source.info, chosen.loss)
    if (
        chosen.jit_compile
        and chosen.batch_norm == "sync"
        and on.num_replicas > 1
    ):
        raise errors.ConfigError(
            'train.jit_compile=True and train.batch_norm="sync" do not go '
            f"together on {on.describe()}: each layer waits for the other "
            "replicas. Choose one of them."
        )


def check_model(model: keras.Model, chosen: recipe.Recipe) -> None:
    """Raises errors.ConfigError where a network has other outputs."""
    outputs = model.output_shape[-1]
    if outputs != chosen.classes:
        raise errors.ConfigError(
            f"The model {model.name!r} has {outputs} outputs for "
            f"{chosen.classes} classes. Its builder must use the num_classes "
            "it is given."
        )


def _check_mixing(chosen: recipe.Recipe, on: engine.Engine) -> None:
    """Raises errors.ConfigError where an example would have no partner."""
    if chosen.mixing is None:
        return
    rows = on.host.replica_batch_size(
        chosen.global_batch_size, chosen.accumulate_steps
    )
    rows //= chosen.accumulate_steps
    block = 2 * chosen.train_data.copies
    if rows % block:
        total = block * on.num_replicas * chosen.accumulate_steps
        raise errors.ConfigError(
            f"train.mixing pairs the {rows} examples that a replica takes at a "
            f"time, which must be a multiple of {block}. Choose a "
            f"train.global_batch_size that is a multiple of {total}."
        )


def _check_augment(chosen: recipe.Recipe) -> None:
    """Raises errors.ConfigError where an operation cannot take the images."""

    @tf.function(autograph=False)
    def apply(images: tf.Tensor) -> tf.Tensor:
        rows = augment.Rows(tf.constant([0, 0]), tf.constant(0), 1, 1)
        for operation in chosen.augment:
            images = operation(images, rows)
        return images

    shape = chosen.train_data.image_shape
    try:
        apply.get_concrete_function(tf.TensorSpec([1, *shape], tf.float32))
    except ValueError as error:
        raise errors.ConfigError(
            f"train.augment does not fit images of {shape}: {error}"
        ) from error
