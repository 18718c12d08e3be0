"""Which values of a recipe make no sense, alone or together.

Each function raises errors.ConfigError, with the name, the value, the rule and
the fix.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from input import eval_pipeline
from trainer import errors, metric_checks

if TYPE_CHECKING:
    from trainer import recipe

_INT32 = 2**31


def check_numbers(chosen: recipe.Recipe) -> None:
    """Raises errors.ConfigError for a number out of range."""
    for name in (
        "global_batch_size",
        "accumulate_steps",
        "steps_per_loop",
        "keep_checkpoints",
        "max_rollbacks",
    ):
        value = getattr(chosen, name)
        if value < 1:
            raise errors.ConfigError(
                f"train.{name}={value} must be at least 1."
            )
    if chosen.ema_decay is not None and not 0 < chosen.ema_decay < 1:
        raise errors.ConfigError(
            f"train.ema_decay={chosen.ema_decay} must be above 0 and below "
            "1, such as 0.999, or None for no averaging."
        )
    if chosen.hang_timeout is not None and chosen.hang_timeout <= 0:
        raise errors.ConfigError(
            f"train.hang_timeout={chosen.hang_timeout} must be above 0 "
            "seconds, or None to wait for ever."
        )
    if chosen.spike_factor is not None and chosen.spike_factor <= 1:
        raise errors.ConfigError(
            f"train.spike_factor={chosen.spike_factor} must be above 1, such "
            "as 3.0, or None to accept any finite loss."
        )
    if not -_INT32 <= chosen.seed < _INT32:
        raise errors.ConfigError(
            f"train.seed={chosen.seed} must fit in 32 bits: choose a number "
            f"between {-_INT32} and {_INT32 - 1}."
        )


def check_together(chosen: recipe.Recipe) -> None:
    """Raises errors.ConfigError where choices do not go together."""
    if chosen.phases and (
        chosen.trainable != "all" or chosen.freeze_batch_norm
    ):
        raise errors.ConfigError(
            f"train.trainable={chosen.trainable!r} and train.freeze_batch_norm="
            f"{chosen.freeze_batch_norm} are for a run without train.phases. "
            "Say it in each phase, such as `phase.trainable = "
            f"{chosen.trainable!r}`, or leave train.phases out."
        )
    if chosen.early_stopping is not None and chosen.eval_data is None:
        raise errors.ConfigError(
            f"train.early_stopping={chosen.early_stopping!r} needs "
            "train.eval_data to tell what is better. Bind it, or leave "
            "early_stopping unset."
        )
    if (
        chosen.gradient_compression == "float16"
        and chosen.precision != "mixed_float16"
    ):
        raise errors.ConfigError(
            'train.gradient_compression="float16" needs the loss scale of '
            'train.precision="mixed_float16": without it small gradients '
            f'vanish. With {chosen.precision!r} use "bfloat16".'
        )


def check_data(chosen: recipe.Recipe) -> None:
    """Raises errors.ConfigError where network and splits do not match."""
    info = chosen.train_data.source.info
    found = len(info.class_names)
    if chosen.num_classes is not None and chosen.num_classes < found:
        raise errors.ConfigError(
            f"train.num_classes={chosen.num_classes}, but the data has "
            f"{found} classes. Leave it unset, or set it to at least "
            f"{found}."
        )
    if info.multi_label and chosen.class_weights is not None:
        raise errors.ConfigError(
            "train.class_weights weighs an example by its one class, but the "
            "examples of multi-label data have any number. Leave it unset; "
            "sigmoid_focal_loss.alpha weighs the classes that an example has "
            "against the others."
        )
    metric_checks.check_labels(
        info,
        chosen.evaluations,
        chosen.num_classes,
        chosen.metrics,
    )
    for data in chosen.evaluations:
        _check_evaluation(chosen, data)


def _check_evaluation(
    chosen: recipe.Recipe, data: eval_pipeline.EvalData
) -> None:
    train = chosen.train_data
    if data.source.info.class_names != train.source.info.class_names:
        raise errors.ConfigError(
            f"The classes of split {data.split!r} are not those of "
            f"training split {train.split!r}. Convert both from the same "
            "list of classes."
        )
    if data.image_shape != train.image_shape:
        raise errors.ConfigError(
            f"Split {data.split!r} gives images of {data.image_shape}, "
            f"training {train.image_shape}. Give train_data.decode and "
            "eval_data.decode the same size."
        )
