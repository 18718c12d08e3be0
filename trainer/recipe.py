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
from trainer import errors, losses, optimizers, progressive
from trainer import precision as precision_lib
from trainer import step as step_lib

_INT32 = 2**31


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """A training, complete but for its devices and its directory.

    In gin files its name is `train`.

    Attributes:
        model: Makes the network: called with `num_classes` and `image_shape`.
        optimizer: Update rule, learning rate, decay and clipping.
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
        best_metric: Of `eval_data`: the best checkpoint by it is in best/.
        best_direction: Whether `max` or `min` is best; `auto`: the least
            `loss`, the most of anything else.
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
    best_metric: best_lib.Metric = "top_1_accuracy"
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
        for name in (
            "global_batch_size",
            "accumulate_steps",
            "steps_per_loop",
            "keep_checkpoints",
            "max_rollbacks",
        ):
            value = getattr(self, name)
            if value < 1:
                raise errors.ConfigError(
                    f"train.{name}={value} must be at least 1."
                )
        if self.ema_decay is not None and not 0 < self.ema_decay < 1:
            raise errors.ConfigError(
                f"train.ema_decay={self.ema_decay} must be above 0 and below "
                "1, such as 0.999, or None for no averaging."
            )
        if self.hang_timeout is not None and self.hang_timeout <= 0:
            raise errors.ConfigError(
                f"train.hang_timeout={self.hang_timeout} must be above 0 "
                "seconds, or None to wait for ever."
            )
        if self.spike_factor is not None and self.spike_factor <= 1:
            raise errors.ConfigError(
                f"train.spike_factor={self.spike_factor} must be above 1, such "
                "as 3.0, or None to accept any finite loss."
            )
        if not -_INT32 <= self.seed < _INT32:
            raise errors.ConfigError(
                f"train.seed={self.seed} must fit in 32 bits: choose a number "
                f"between {-_INT32} and {_INT32 - 1}."
            )
        for name in ("log_every", "checkpoint_every"):
            self.steps(name)
        for name in ("evaluate_every", "keep_every", "early_stopping"):
            self.optional_steps(name)
        if self.early_stopping is not None and self.eval_data is None:
            raise errors.ConfigError(
                f"train.early_stopping={self.early_stopping!r} needs "
                "train.eval_data to tell what is better. Bind it, or leave "
                "early_stopping unset."
            )
        if (
            self.gradient_compression == "float16"
            and self.precision != "mixed_float16"
        ):
            raise errors.ConfigError(
                'train.gradient_compression="float16" needs the loss scale of '
                'train.precision="mixed_float16": without it small gradients '
                f'vanish. With {self.precision!r} use "bfloat16".'
            )
        self.profile_window  # noqa: B018 - raises where it cannot be read
        if self.horizon.total_steps < 1:
            raise errors.ConfigError(
                f"train.duration={self.duration!r} is less than one step."
            )
        self.stages  # noqa: B018 - the same
        self._check_classes()
        for data in self.evaluations:
            self._check_evaluation(data)

    @property
    def evaluations(self) -> list[eval_pipeline.EvalData]:
        """The splits to evaluate on."""
        return [d for d in (self.eval_data, self.test_data) if d is not None]

    @property
    def classes(self) -> int:
        """Outputs of the network."""
        return self.num_classes or len(self.train_data.source.info.class_names)

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

    def _check_classes(self) -> None:
        found = len(self.train_data.source.info.class_names)
        if self.num_classes is not None and self.num_classes < found:
            raise errors.ConfigError(
                f"train.num_classes={self.num_classes}, but the data has "
                f"{found} classes. Leave it unset, or set it to at least "
                f"{found}."
            )

    def _check_evaluation(self, data: eval_pipeline.EvalData) -> None:
        train = self.train_data
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
