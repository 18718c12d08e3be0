"""What a gin file describes: one training, as checked values."""

import dataclasses
from collections.abc import Callable, Sequence

import keras

from input import augment as augment_lib
from input import pipeline
from trainer import duration as duration_lib
from trainer import errors, losses, optimizers
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
        loss: Per-example loss.
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
        evaluate_every: How often `eval_data` is evaluated.
        keep_checkpoints: How many of the newest are kept, at least 1.
        profile: Steps to write a TensorBoard profile of, such as
            "100 steps at 500 steps"; None for no profile.
        deterministic: Makes TensorFlow choose kernels that always give the
            same bits, at some cost on a GPU.
    """

    model: Callable[..., keras.Model]
    optimizer: optimizers.Optimizer
    train_data: pipeline.TrainData
    global_batch_size: int
    duration: str
    eval_data: pipeline.EvalData | None = None
    test_data: pipeline.EvalData | None = None
    augment: Sequence[augment_lib.Augment] = ()
    loss: losses.Loss = losses.softmax_cross_entropy()
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
    evaluate_every: str = "1 epoch"
    keep_checkpoints: int = 3
    profile: str | None = None
    deterministic: bool = False

    def __post_init__(self) -> None:
        """Raises errors.ConfigError for a value out of range."""
        for name in (
            "global_batch_size",
            "accumulate_steps",
            "steps_per_loop",
            "keep_checkpoints",
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
        if not -_INT32 <= self.seed < _INT32:
            raise errors.ConfigError(
                f"train.seed={self.seed} must fit in 32 bits: choose a number "
                f"between {-_INT32} and {_INT32 - 1}."
            )
        for name in ("log_every", "checkpoint_every", "evaluate_every"):
            self.steps(name)
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
        self._check_classes()
        for data in self.evaluations:
            self._check_evaluation(data)

    @property
    def evaluations(self) -> list[pipeline.EvalData]:
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

    def _check_classes(self) -> None:
        found = len(self.train_data.source.info.class_names)
        if self.num_classes is not None and self.num_classes < found:
            raise errors.ConfigError(
                f"train.num_classes={self.num_classes}, but the data has "
                f"{found} classes. Leave it unset, or set it to at least "
                f"{found}."
            )

    def _check_evaluation(self, data: pipeline.EvalData) -> None:
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

    def check_data(self) -> None:
        """Looks at every file that training will read.

        Raises:
            errors.DataError: One is missing or truncated, or a split is empty.
        """
        self.train_data.check()
        for data in self.evaluations:
            data.source.check(data.split)
