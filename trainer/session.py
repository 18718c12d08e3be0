"""A recipe on an engine: the parts of a run, built and put together."""

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import tensorflow as tf

from input import augment, diagnosis, eval_pipeline
from trainer import (
    engine,
    errors,
    evaluation,
    loop,
    objective,
    precision,
    progressive,
    recipe,
    state,
    step,
)


@dataclasses.dataclass(frozen=True)
class Session:
    """The built parts of a run.

    Attributes:
        recipe: What was asked for.
        engine: Where it runs.
        state: Weights and all else that training changes.
        preprocess: From uint8 pixels to what the network sees.
        views: The network for the smaller images of each stage, in order.
    """

    recipe: recipe.Recipe
    engine: engine.Engine
    state: state.TrainState
    preprocess: step.Preprocess
    views: Mapping[progressive.Stage, keras.Model]

    def take_steps(self, start_step: int) -> loop.TakeSteps:
        """Returns the compiled training loop, its data at a given step.

        It takes no more steps at a time than are left of a stage. Where the
        data cannot be read it raises input.errors.DataError.
        """
        # What is to be cached is read here.
        with diagnosis.explained(self.recipe.train_data):
            batches = self._batches(start_step)
        compiled = functools.cache(lambda stage: self._compile(stage, batches))
        done = start_step

        def take(steps: int) -> dict[str, float]:
            nonlocal done
            stage = progressive.at(self.views, done)
            done += steps
            with diagnosis.explained(self.recipe.train_data):
                return compiled(stage)(steps)

        return take

    def _compile(
        self, stage: progressive.Stage | None, batches: Iterator[Any]
    ) -> loop.TakeSteps:
        """Returns the compiled loop for images of the size of a stage."""
        train, train_step = self.state, self._train_step()
        if stage is not None:
            train = dataclasses.replace(train, model=self.views[stage])
            train_step = dataclasses.replace(
                train_step,
                augments=progressive.augments(stage, train_step.augments),
            )
        return loop.compile_steps(
            self.engine,
            train,
            train_step,
            batches,
            loop.python_clock if self.recipe.deterministic else tf.timestamp,
        )

    def evaluator(self, data: eval_pipeline.EvalData) -> evaluation.Evaluator:
        """Returns an evaluator of the model on a split."""
        return evaluation.make_evaluator(
            data,
            self.engine,
            self.state,
            self.preprocess,
            self.recipe.loss,
            self.recipe.global_batch_size,
        )

    def _train_step(self) -> step.TrainStep:
        chosen = self.recipe
        return step.TrainStep(
            engine=self.engine,
            preprocess=self.preprocess,
            augments=chosen.augment,
            objective=self._objective(),
            optimizer=chosen.optimizer,
            horizon=chosen.horizon,
            global_batch_size=chosen.global_batch_size,
            seed=chosen.seed,
            batch_norm=chosen.batch_norm,
            accumulate_steps=chosen.accumulate_steps,
            gradient_compression=chosen.gradient_compression,
            jit_compile=chosen.jit_compile,
        )

    def _objective(self) -> objective.Objective:
        chosen, data = self.recipe, self.recipe.train_data
        weights = None
        if chosen.class_weights is not None:
            weights = chosen.class_weights(data.label_counts)
            # Outputs that no example has.
            weights += [1.0] * (chosen.classes - len(weights))
        return objective.Objective(
            loss=chosen.loss,
            class_weights=weights,
            mixing=chosen.mixing,
            copies=data.copies,
        )

    def shards_read(self, steps: range) -> list[str]:
        """Returns the shards that this host has read for some steps."""
        chosen, offset = self.recipe, self._data_offset()
        return chosen.train_data.shards_read(
            self.engine.host,
            global_batch_size=chosen.global_batch_size,
            seed=chosen.seed,
            steps=range(steps.start + offset, steps.stop + offset),
        )

    def _data_offset(self) -> int:
        return int(self.state.history.data_offset.numpy())

    def _batches(self, start_step: int) -> Iterator[Any]:
        first = start_step + self._data_offset()
        batches = self.engine.distribute(
            lambda host: self.recipe.train_data.dataset(
                host,
                global_batch_size=self.recipe.global_batch_size,
                seed=self.recipe.seed,
                start_step=first,
                micro_batches=self.recipe.accumulate_steps,
            )
        )
        return iter(batches)


def build(chosen: recipe.Recipe, on: engine.Engine) -> Session:
    """Makes the variables of a run, initialised from its seed.

    Raises:
        errors.ConfigError: The batch cannot be divided among the replicas, or
            the network does not fit the data.
    """
    try:
        on.host.replica_batch_size(
            chosen.global_batch_size, chosen.accumulate_steps
        )
    except ValueError as error:
        raise errors.ConfigError(f"train.{error}") from error
    _check_mixing(chosen, on)
    _check_augment(chosen)
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
    keras.utils.set_random_seed(chosen.seed % 2**32)
    if chosen.deterministic:
        tf.config.experimental.enable_op_determinism()
    with on.scope(), precision.dtype_policy(chosen.precision):
        model = chosen.model(
            num_classes=chosen.classes,
            image_shape=chosen.train_data.image_shape,
        )
        _check_model(model, chosen)
        views = {s: progressive.view(model, s) for s in chosen.stages}
        built = state.create(
            model, chosen.optimizer, chosen.precision, chosen.ema_decay
        )
    info = chosen.train_data.source.info
    preprocess = functools.partial(
        augment.preprocess, mean=info.channel_mean, std=info.channel_std
    )
    return Session(chosen, on, built, preprocess, views)


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


def _check_model(model: keras.Model, chosen: recipe.Recipe) -> None:
    outputs = model.output_shape[-1]
    if outputs != chosen.classes:
        raise errors.ConfigError(
            f"The model {model.name!r} has {outputs} outputs for "
            f"{chosen.classes} classes. Its builder must use the num_classes "
            "it is given."
        )
