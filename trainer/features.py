"""What a frozen backbone makes of each picture, computed once and kept."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal

import keras
import numpy as np
from absl import logging

from input import cache, memory
from input import features as features_lib
from models import split
from trainer import (
    agreement,
    engine,
    errors,
    evaluation,
    feature_tables,
    phases,
    recipe,
    step,
)

Policy = Literal["auto"] | bool
_NAME = "train.cache_features"


@dataclasses.dataclass(frozen=True)
class Features:
    """Splits of features, and the head that learns from them.

    Attributes:
        train: In place of the pictures of `train_data`.
        eval: In place of those of `eval_data`; None: it keeps its pictures.
        head: From features to logits, of the layers of the whole network.
        until: Steps of the run after which the backbone is no longer frozen.
    """

    train: features_lib.TrainFeatures
    eval: features_lib.EvalFeatures | None
    head: keras.Model
    until: int

    @property
    def preprocess(self) -> step.Preprocess:
        """From the bytes in a batch to what the head sees."""
        return self.train.table.layout.unpack


def frozen_until(spans: Sequence[phases.Span]) -> int:
    """Returns the steps of the run in which only the head learns."""
    until = 0
    for span in spans:
        if span.trainable != "head":
            break
        until = span.until
    return until


def why_not(chosen: recipe.Recipe, model: keras.Model) -> str:
    """Returns why features cannot be kept, or "".

    Args:
        chosen: The recipe.
        model: Its network.
    """
    data = chosen.train_data
    if not frozen_until(chosen.spans):
        return (
            f"train.trainable={chosen.spans[0].trainable!r}: the backbone "
            'learns; it is frozen with "head"'
        )
    if chosen.augment:
        return "train.augment changes each picture every time"
    if chosen.mixing is not None:
        return "train.mixing mixes pictures"
    if chosen.progressive_resizing:
        return "train.progressive_resizing changes the size of the pictures"
    if not isinstance(data.decode, cache.REPEATABLE):
        return (
            f"train_data.decode={type(data.decode).__name__} cuts another part "
            "of a picture each time; @resize_center_crop() does not"
        )
    if data.service is not None:
        return f"train_data.service={data.service!r} makes the batches"
    if data.on_corrupt != "fail":
        return f"train_data.on_corrupt={data.on_corrupt!r} leaves out records"
    try:
        parts = split.at_head(model)
    except ValueError as error:
        return str(error)
    if layer := split.draws(parts.base):
        return f"the layer {layer!r} of the backbone draws at random"
    return _too_large(chosen, parts.feature_shape)


def _too_large(chosen: recipe.Recipe, shape: tuple[int, ...]) -> str:
    if None in shape:
        return f"the features have no fixed shape, but {shape}"
    row = np.prod(features_lib.Layout(shape).row_shape)
    splits = [d for d in (chosen.train_data, chosen.eval_data) if d is not None]
    needed = int(row * sum(data.examples for data in splits))
    free = memory.free_bytes()
    # Others take some of it while the features are computed.
    if needed <= free // 2:
        return ""
    return (
        f"features of shape {shape} would take {needed / 2**30:.1f} GiB, more "
        f"than half of the {free / 2**30:.1f} GiB that are free"
    )


def check(chosen: recipe.Recipe, model: keras.Model) -> bool:
    """Returns whether features are to be kept.

    Raises:
        errors.ConfigError: `train.cache_features` asks for what cannot be.
    """
    if chosen.cache_features is False:
        return False
    reason = why_not(chosen, model)
    if reason and chosen.cache_features is True:
        raise errors.ConfigError(
            f"{_NAME}=True cannot be: {reason}. Change that, or leave it at "
            '"auto".'
        )
    if reason and frozen_until(chosen.spans):
        logging.info("Features are not kept: %s.", reason)
    return not reason


def compute(
    chosen: recipe.Recipe,
    on: engine.Engine,
    model: keras.Model,
    preprocess: step.Preprocess,
    beat: Callable[[], None],
) -> Features:
    """Computes the features of the splits that are read more than once.

    To be called by all processes alike, when the weights are those of the run.
    `eval_data` is among them where the backbone stays frozen to the end.

    Args:
        chosen: The recipe, of which `check` has said that it can be.
        on: All replicas share the work.
        model: The network.
        preprocess: Makes what the network sees.
        beat: Called at each batch: the process has not hung.

    Raises:
        errors.ConfigError: Nothing can be written to `train.features_dir`, or
            read from it.
    """
    folder = chosen.features_dir
    if folder is not None:
        # Before the work, not after it.
        agreement.on_chief(on, lambda: feature_tables.check_folder(folder))
    parts = split.at_head(model)
    until = frozen_until(chosen.spans)
    make = functools.partial(
        feature_tables.table, chosen, on, parts.base, preprocess, beat=beat
    )
    held_out = None
    data = chosen.eval_data
    if (
        data is not None
        and chosen.evaluate_every is not None
        and until == chosen.horizon.total_steps
        and isinstance(data.decode, cache.REPEATABLE)
    ):
        held_out = features_lib.evaluation(data, make(data))
    return Features(
        train=features_lib.train(chosen.train_data, make(chosen.train_data)),
        eval=held_out,
        head=parts.head,
        until=until,
    )


class Evaluator(evaluation.Evaluator):
    """Evaluates a head on features; shows the pictures of its mistakes."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Returns the result of evaluation.Evaluator, with pictures."""
        result = super().__call__(*args, **kwargs)
        data = self.data
        if not isinstance(data, features_lib.EvalFeatures):
            raise TypeError(f"{data} is no split of features.")
        places = [data.table.layout.place(m.image) for m in result.mistakes]
        pictures = data.pictures(places)
        return dataclasses.replace(
            result,
            mistakes=tuple(
                dataclasses.replace(mistake, image=picture)
                for mistake, picture in zip(
                    result.mistakes, pictures, strict=True
                )
            ),
        )


def evaluator(inner: evaluation.Evaluator) -> Evaluator:
    """Returns an evaluator on `EvalFeatures` that shows pictures."""
    return Evaluator(
        **{
            field.name: getattr(inner, field.name)
            for field in dataclasses.fields(inner)
            if field.init
        }
    )
