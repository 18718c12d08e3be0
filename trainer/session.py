"""A recipe on an engine: the parts of a run, built and put together."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from input import diagnosis, eval_pipeline
from models import freezing as freezing_lib
from trainer import (
    engine,
    errors,
    evaluation,
    loop,
    objective,
    param_groups,
    phases,
    precision,
    preprocessing,
    progressive,
    recipe,
    session_checks,
    step,
    updater,
)
from trainer import features as features_lib
from trainer import state as state_lib


@dataclasses.dataclass(frozen=True)
class Session:
    """The built parts of a run.

    Attributes:
        recipe: What was asked for.
        engine: Where it runs.
        state: Weights and all else that training changes.
        preprocess: From uint8 pixels to what the network sees.
        views: The network for the smaller images of each stage, in order.
        spans: The phases of the run, in order.
        freezing: Lets layers learn and not, as each phase asks for.
        keeps_features: Whether a frozen backbone sees each picture once.
        features: What it has made of them; None: it sees all of them.
    """

    recipe: recipe.Recipe
    engine: engine.Engine
    state: state_lib.TrainState
    preprocess: step.Preprocess
    views: Mapping[progressive.Stage, keras.Model]
    spans: Sequence[phases.Span]
    freezing: freezing_lib.Freezing
    keeps_features: bool = False
    features: features_lib.Features | None = None

    def with_features(self, beat: Callable[[], None]) -> "Session":
        """Returns the session with features for pictures, where it keeps them.

        To be called when the weights are those of the run.

        Args:
            beat: Called at each batch: the process has not hung.
        """
        # A host may have less memory free than the others.
        if b"no" in self.engine.exchange(
            b"yes" if self.keeps_features else b"no"
        ):
            return self
        with diagnosis.explained(self.recipe.train_data):
            made = features_lib.compute(
                self.recipe,
                self.engine,
                self.state.model,
                self.preprocess,
                beat,
            )
        return dataclasses.replace(self, features=made)

    def take_steps(self, start_step: int) -> loop.TakeSteps:
        """Returns the compiled training loop, its data at a given step.

        It takes no more steps at a time than are left of a stage or a phase.
        Where the data cannot be read it raises input.errors.DataError.
        """
        done = start_step

        @functools.cache
        def batches(on_features: bool) -> Iterator[Any]:
            return self._batches(done, on_features)

        @functools.cache
        def compiled(stage: progressive.Stage | None, phase: int) -> Any:
            span = self.spans[phase]
            return self._compile(stage, span, batches(self._on_features(span)))

        # What is to be cached is read here.
        with diagnosis.explained(self.recipe.train_data):
            batches(self._on_features(phases.at(self.spans, done)))

        def take(steps: int) -> dict[str, float]:
            nonlocal done
            stage = progressive.at(self.views, done)
            phase = phases.at(self.spans, done)
            with diagnosis.explained(self.recipe.train_data):
                take_steps = compiled(stage, phase.index)
                done += steps
                return take_steps(steps)

        return take

    def _on_features(self, phase: phases.Span) -> bool:
        return self.features is not None and phase.until <= self.features.until

    def _compile(
        self,
        stage: progressive.Stage | None,
        phase: phases.Span,
        batches: Iterator[Any],
    ) -> loop.TakeSteps:
        """Returns the loop for a phase and the image size of a stage.

        It is compiled when it is first called, before any other.
        """
        self.freezing.apply(phase.trainable, phase.freeze_batch_norm)
        train = dataclasses.replace(self.state, phase=phase.index)
        train_step = self._train_step(phase)
        if self.features is not None and self._on_features(phase):
            train = dataclasses.replace(train, model=self.features.head)
            train_step = dataclasses.replace(
                train_step, preprocess=self.features.preprocess
            )
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
        found = self.features
        if found is not None and found.eval and data is self.recipe.eval_data:
            head = dataclasses.replace(self.state, model=found.head)
            return features_lib.evaluator(
                self._evaluator(found.eval, head, found.preprocess)
            )
        return self._evaluator(data, self.state, self.preprocess)

    def _evaluator(
        self,
        data: eval_pipeline.EvalData,
        train: state_lib.TrainState,
        preprocess: step.Preprocess,
    ) -> evaluation.Evaluator:
        return evaluation.make_evaluator(
            data,
            self.engine,
            train,
            preprocess,
            self.recipe.loss,
            self.recipe.global_batch_size,
            self.recipe.metrics,
        )

    def _train_step(self, phase: phases.Span) -> step.TrainStep:
        chosen = self.recipe
        return step.TrainStep(
            engine=self.engine,
            preprocess=self.preprocess,
            augments=chosen.augment,
            objective=self._objective(),
            phase=phase,
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

    def _batches(
        self, start_step: int, on_features: bool = False
    ) -> Iterator[Any]:
        first = start_step + self._data_offset()
        data = self.recipe.train_data
        if self.features is not None and on_features:
            data = self.features.train
        batches = self.engine.distribute(
            lambda host: data.dataset(
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
    session_checks.check_fit(chosen, on)
    keras.utils.set_random_seed(chosen.seed % 2**32)
    if chosen.deterministic:
        tf.config.experimental.enable_op_determinism()
    with on.scope(), precision.dtype_policy(chosen.precision):
        model = chosen.model(
            num_classes=chosen.classes,
            image_shape=chosen.train_data.image_shape,
        )
        session_checks.check_model(model, chosen)
        keeps_features = features_lib.check(chosen, model)
        views = {s: progressive.view(model, s) for s in chosen.stages}
        freezing = freezing_lib.Freezing(model)
        spans = chosen.spans
        updaters = [
            _updater(
                model,
                freezing,
                span,
                f"train.phases: number {span.index + 1}: "
                if chosen.phases
                else "train.",
            )
            for span in spans
        ]
        freezing.restore()
        built = state_lib.create(
            model, updaters, chosen.precision, chosen.ema_decay
        )
    preprocess = preprocessing.choose(
        model, chosen.train_data.source.info, chosen.train_data.image_shape
    )
    return Session(
        chosen,
        on,
        built,
        preprocess,
        views,
        spans,
        freezing,
        keeps_features,
    )


def _updater(
    model: keras.Model,
    freezing: freezing_lib.Freezing,
    phase: phases.Span,
    named: str,
) -> updater.Updater:
    """Returns the optimizer's slots for what learns in a phase.

    Args:
        model: The network.
        freezing: Of its layers.
        phase: That the slots are for.
        named: What an error of its settings begins with.
    """
    chosen = phase.optimizer
    try:
        freezing.apply(phase.trainable, phase.freeze_batch_norm)
        weights = model.trainable_variables
        treatments = param_groups.treatments(
            model,
            weights,
            weight_decay=chosen.weight_decay,
            groups=chosen.groups,
            layer_decay=chosen.layer_decay,
        )
    except ValueError as error:
        raise errors.ConfigError(f"{named}{error}") from error
    return updater.Updater(chosen, weights, treatments)
