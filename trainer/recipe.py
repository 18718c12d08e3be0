"""What a gin file describes: one training, as checked values."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Literal

import keras

from input import augment as augment_lib
from input import eval_pipeline, memory, pipeline, spec
from input import mixing as mixing_lib
from trainer import best as best_lib
from trainer import checkpoint as checkpoint_lib
from trainer import class_weights as class_weights_lib
from trainer import duration as duration_lib
from trainer import (
    errors,
    losses,
    metric_checks,
    optimizers,
    progressive,
    recipe_checks,
    scoring,
)
from trainer import phases as phases_lib
from trainer import precision as precision_lib
from trainer import step as step_lib


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """A training, complete but for its devices and its directory.

    In gin files its name is `train`.

    Attributes:
        model: Makes the network: called with `num_classes` and `image_shape`.
        optimizer: Update rule, learning rate, decay and clipping.
        trainable: What learns: "all"; "head", the last layer; or the head and
            some blocks before it, such as "last 3 blocks".
        freeze_batch_norm: Whether batch norm is frozen, statistics and all,
            also where the rest learns.
        phases: What learns when, such as the head first and then all: a list
            of `phase()`, in place of `trainable` and `freeze_batch_norm`.
        cache_features: Whether what a frozen backbone makes of each picture is
            computed once and kept in memory. "auto": where that is the same
            training and fits into half of the free memory.
        features_dir: Folder that keeps it for the next run as well, one that
            all hosts see; None: memory alone.
        train_data: The split to train on.
        global_batch_size: Rows of a batch over all replicas, at least 1.
        duration: Length of the run, such as "90 epochs" or "1000 steps".
        eval_data: The split to evaluate on while training.
        test_data: The split to evaluate on once, when training has ended.
        augment: On-device augmentation, in order.
        mixing: Mixes pairs of examples after it, such as `mixup`; None: does
            not.
        progressive_resizing: Begin with smaller images: stages such as
            `["128 until 30 epochs", "160 until 60 epochs"]`, the shorter side
            in pixels; the rest of the run has those of the data.
        loss: Per-example loss.
        class_weights: Weighs the classes in the loss of training by how often
            they occur, such as `balanced_weights`; None: all alike.
        precision: Number format of the computation; weights are float32.
        batch_norm: `local` or `sync`, see `step.TrainStep`.
        accumulate_steps: Micro-batches of a step, at least 1: memory for
            activations is that of one of them.
        ema_decay: In (0, 1), such as 0.999: evaluate with an exponential
            moving average of the weights; None: with the weights.
        gradient_compression: Number format of gradients in the all-reduce;
            `bfloat16` halves the bytes on the wire.
        jit_compile: Whether XLA compiles the step. By default not: on a CPU
            it is slower (docs/benchmarks.md). A TPU always compiles.
        num_classes: Outputs of the network; by default as many as the data
            has classes, and never fewer.
        seed: Of initial weights, data order, augmentation and dropout.
        steps_per_loop: Most steps in one graph call, at least 1.
        log_every: How often metrics are written.
        checkpoint_every: How often a checkpoint is written.
        evaluate_every: How often `eval_data` is evaluated; None leaves that to
            an evaluation job (trainer.evaluate) until training has ended.
        keep_checkpoints: How many of the newest are kept, at least 1.
        keep_every: Besides, one of each such period is kept for good, such as
            "10 epochs"; None: only the newest.
        metrics: Which metrics an evaluation has.
        best_metric: Of `eval_data`: the best checkpoint by it is in best/, see
            docs/evaluation.md; `auto`: `top_1_accuracy`, or of multi-label
            data `average_precision_macro`.
        best_direction: Whether `max` or `min` is best; `auto`: the least
            of a loss or an error, the most of anything else.
        early_stopping: Ends training when `best_metric` has not become better
            for so long, such as "10 epochs"; None: never.
        warm_start: Start from the weights of another run, its model_dir or one
            of its checkpoints, as far as they fit; None: from random ones.
        profile: Steps to write a TensorBoard profile of, such as
            "100 steps at 500 steps"; None for no profile. A run that goes on
            after a stop within them has those that are left.
        deterministic: Makes TensorFlow choose kernels that always give the
            same bits, at some cost on a GPU.
        hang_timeout: Seconds without progress after which a process ends,
            with the stacks of its threads; None: never. It must cover the
            first stretch of steps with its compilation, and a checkpoint.
        on_divergence: What follows a loss or a weight that is not finite, a
            long row of skipped steps, or a spike: `stop`, or `rollback` to
            the newest checkpoint and on past the batches read since.
        max_rollbacks: How often a run may do that, at least 1.
        spike_factor: Above 1, such as 3.0: a stretch whose loss is above this
            times the mean of earlier ones is a divergence; None: it is not.
    """

    model: Callable[..., keras.Model]
    optimizer: optimizers.Optimizer
    train_data: pipeline.TrainData
    global_batch_size: int
    duration: str
    trainable: str = "all"
    freeze_batch_norm: bool = False
    phases: Sequence[phases_lib.Phase] = ()
    cache_features: Literal["auto"] | bool = "auto"
    features_dir: str | None = None
    eval_data: eval_pipeline.EvalData | None = None
    test_data: eval_pipeline.EvalData | None = None
    augment: Sequence[augment_lib.Augment] = ()
    mixing: mixing_lib.Mixing | None = None
    progressive_resizing: Sequence[str] = ()
    loss: losses.Loss = losses.softmax_cross_entropy()
    class_weights: class_weights_lib.ClassWeights | None = None
    precision: precision_lib.Precision = "float32"
    batch_norm: step_lib.BatchNorm = "local"
    accumulate_steps: int = 1
    ema_decay: float | None = None
    gradient_compression: step_lib.Compression = "none"
    jit_compile: bool = False
    num_classes: int | None = None
    seed: int = 0
    steps_per_loop: int = 10
    log_every: str = "50 steps"
    checkpoint_every: str = "1 epoch"
    evaluate_every: str | None = "1 epoch"
    keep_checkpoints: int = 3
    keep_every: str | None = None
    metrics: scoring.Scoring = scoring.Scoring()
    best_metric: str = "auto"
    best_direction: best_lib.Direction = "auto"
    early_stopping: str | None = None
    warm_start: str | None = None
    profile: str | None = None
    deterministic: bool = False
    hang_timeout: float | None = 1800.0
    on_divergence: Literal["stop", "rollback"] = "stop"
    max_rollbacks: int = 3
    spike_factor: float | None = None

    def __post_init__(self) -> None:
        """Raises errors.ConfigError for a value out of range."""
        recipe_checks.check_numbers(self)
        for name in ("log_every", "checkpoint_every"):
            self.steps(name)
        for name in ("evaluate_every", "keep_every", "early_stopping"):
            self.optional_steps(name)
        recipe_checks.check_together(self)
        self.profile_window  # noqa: B018 - raises where it cannot be read
        if self.horizon.total_steps < 1:
            raise errors.ConfigError(
                f"train.duration={self.duration!r} is less than one step."
            )
        self.stages  # noqa: B018 - the same
        self.spans  # noqa: B018 - the same
        self.kept_metric  # noqa: B018 - the same
        recipe_checks.check_data(self)

    @property
    def evaluations(self) -> list[eval_pipeline.EvalData]:
        """The splits to evaluate on."""
        return [d for d in (self.eval_data, self.test_data) if d is not None]

    @property
    def classes(self) -> int:
        """Outputs of the network."""
        return self.num_classes or len(self.train_data.source.info.class_names)

    @property
    def kept_metric(self) -> str:
        """The name of the metric that decides which checkpoint is the best."""
        return metric_checks.best_metric(
            self.best_metric,
            self.metrics,
            self.eval_data,
            self.train_data.source.info,
            self.classes,
        )

    @property
    def horizon(self) -> duration_lib.Horizon:
        """Length of the run in steps."""
        parsed = duration_lib.parse(self.duration, "train.duration")
        steps = self.train_data.examples / self.global_batch_size
        return duration_lib.Horizon(parsed.steps(steps), steps)

    @property
    def profile_window(self) -> range | None:
        """The steps to profile, after which steps to begin and to end."""
        if self.profile is None:
            return None
        window = duration_lib.parse_window(
            self.profile, "train.profile", self.horizon.steps_per_epoch
        )
        if window.stop > self.horizon.total_steps:
            raise errors.ConfigError(
                f"train.profile={self.profile!r} ends at step {window.stop}, "
                f"after the run ({self.horizon.total_steps} steps). Choose "
                "earlier or fewer steps."
            )
        return window

    @property
    def stages(self) -> list[progressive.Stage]:
        """The parts of the run with smaller images."""
        return progressive.stages(
            self.progressive_resizing,
            self.train_data.image_shape,
            self.horizon,
        )

    def augments_at(self, step: int) -> list[augment_lib.Augment]:
        """Returns what is done to images on the device after `step` steps."""
        stage = progressive.at(self.stages, step)
        return progressive.augments(stage, self.augment)

    @property
    def spans(self) -> list[phases_lib.Span]:
        """The phases of the run, in order; at least one."""
        single = phases_lib.Phase(
            trainable=self.trainable, freeze_batch_norm=self.freeze_batch_norm
        )
        return phases_lib.spans(
            self.phases or [single], self.optimizer, self.horizon
        )

    @property
    def retention(self) -> checkpoint_lib.Retention:
        """Which checkpoints stay."""
        return checkpoint_lib.Retention(
            self.keep_checkpoints, self.optional_steps("keep_every")
        )

    def steps(self, name: str) -> int:
        """Returns the period that a parameter such as `log_every` gives.

        Raises:
            errors.ConfigError: It is not a duration.
        """
        parsed = duration_lib.parse(getattr(self, name), f"train.{name}")
        if not parsed.amount:
            raise errors.ConfigError(
                f"train.{name}={getattr(self, name)!r} must be above 0; to do "
                'it once, at the end, name a long time such as "1000 epochs".'
            )
        return max(parsed.steps(self.horizon.steps_per_epoch), 1)

    def optional_steps(self, name: str) -> int | None:
        """Returns the same for a parameter that may be None, and is then."""
        return None if getattr(self, name) is None else self.steps(name)

    def check_memory(self, host: spec.HostShare) -> None:
        """Makes sure that what is to be cached fits into memory together.

        Raises:
            input.errors.UsageError: It does not; says what would.
        """
        cached = [d for d in self.evaluations if d.cache != "none"]
        if self.train_data.cache == "none" and not cached:
            return
        free = memory.free_bytes()
        free -= self.train_data.check_memory(self.train_data.files(host), free)
        for data in cached:
            free -= data.check_memory(data.files(), free)

    def check_data(self) -> None:
        """Looks at every file that training will read.

        Raises:
            errors.DataError: One is missing or truncated, a split is empty, or
                the examples of its classes are needed and were not counted.
        """
        self.train_data.check()
        if self.class_weights is not None:
            self.class_weights(self.train_data.label_counts)
        for data in self.evaluations:
            data.source.check(data.split)
