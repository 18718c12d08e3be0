"""Where the step runs, and the little it needs to know about that.

An engine places the model's variables, feeds each replica its rows of the
global batch, runs a function on every replica and adds tensors up across them.
The step (trainer/step.py) is written against this interface alone; nothing of
it changes from one device to a cluster.

Two rules keep the replicas the same everywhere:

* Variables are never aggregated by the framework. Each replica makes the same
  update from the same all-reduced gradients.
* Replica `r` of `n` holds rows ``[r * b, (r + 1) * b)`` of every global batch,
  where ``b = global_batch_size / n``.
"""

import abc
import contextlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import tensorflow as tf
from absl import logging

from input import spec
from trainer import errors

EngineName = Literal["auto", "one_device", "mirrored"]
DatasetFn = Callable[[spec.HostShare], tf.data.Dataset]


class Engine(abc.ABC):
    """The interface between a training step and the devices it runs on.

    Attributes:
        name: The name by which `make_engine` knows it.
        num_replicas: Copies of the model over all hosts.
        host: Which share of each global batch this process reads.
    """

    name: str
    num_replicas: int
    host: spec.HostShare

    @property
    def is_chief(self) -> bool:
        """Whether this process writes checkpoints, metrics and reports."""
        return self.host.index == 0

    @abc.abstractmethod
    def scope(self) -> contextlib.AbstractContextManager[Any]:
        """Returns the context in which variables must be created."""

    @abc.abstractmethod
    def distribute(self, dataset_fn: DatasetFn) -> Iterable[Any]:
        """Returns the global batches; its iterators work in a tf.function.

        Args:
            dataset_fn: Makes the data set of a host: batches of the rows of
                one replica, the replicas of the host taking turns.
        """

    @abc.abstractmethod
    def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """Calls `function` on every replica; call it in a tf.function.

        Args:
            function: Runs in replica context; may use `all_reduce` and
                `replica_index`.
            *args: Tensors for all replicas, or items of `distribute`.

        Returns:
            What `function` returns, one value a replica: see `first` and
            `local_results`.
        """

    @abc.abstractmethod
    def all_reduce(self, tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """Adds tensors up across all replicas in one grouped call.

        To be called inside `run`, by every replica, in the same order.
        """

    @abc.abstractmethod
    def replica_index(self) -> tf.Tensor:
        """Returns which replica is calling: int32 in [0, num_replicas)."""

    @abc.abstractmethod
    def local_results(self, value: Any) -> tuple[Any, ...]:
        """Returns what each replica of this host returned from `run`."""

    def first(self, structure: Any) -> Any:
        """Returns the first local replica's part of what `run` returned."""
        return tf.nest.map_structure(
            lambda value: self.local_results(value)[0], structure
        )

    def describe(self) -> str:
        """Returns one line for logs and reports."""
        plural = "replica" if self.num_replicas == 1 else "replicas"
        return f"{self.name}, {self.num_replicas} {plural}"


class OneDevice(Engine):
    """A single GPU, or the CPU: no tf.distribute at all."""

    name = "one_device"
    num_replicas = 1
    host = spec.HostShare(index=0, count=1, replicas=1)

    def scope(self) -> contextlib.AbstractContextManager[Any]:
        """Returns a context that does nothing."""
        return contextlib.nullcontext()

    def distribute(self, dataset_fn: DatasetFn) -> Iterable[Any]:
        """Returns the data set itself."""
        return dataset_fn(self.host)

    def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """Calls the function."""
        return function(*args)

    def all_reduce(self, tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """Returns the tensors: the sum over one replica."""
        return list(tensors)

    def replica_index(self) -> tf.Tensor:
        """Returns 0."""
        return tf.constant(0)

    def local_results(self, value: Any) -> tuple[Any, ...]:
        """Returns the value itself as the only result."""
        return (value,)


class Distributed(Engine):
    """Any synchronous `tf.distribute` strategy."""

    def __init__(self, name: str, strategy: tf.distribute.Strategy) -> None:
        self.name = name
        self.strategy = strategy
        self.num_replicas = strategy.num_replicas_in_sync
        self.host = spec.HostShare(index=0, count=1, replicas=self.num_replicas)

    def scope(self) -> contextlib.AbstractContextManager[Any]:
        """Returns the strategy's scope."""
        return self.strategy.scope()

    def distribute(self, dataset_fn: DatasetFn) -> Iterable[Any]:
        """Deals successive batches of the host to its replicas."""
        return self.strategy.distribute_datasets_from_function(
            lambda context: dataset_fn(self.host)
        )

    def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """Runs the function on every replica."""
        return self.strategy.run(function, args=args)

    def all_reduce(self, tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """Adds up in replica context, all tensors in one call."""
        context = tf.distribute.get_replica_context()
        return context.all_reduce(tf.distribute.ReduceOp.SUM, list(tensors))

    def replica_index(self) -> tf.Tensor:
        """Returns the replica's id in the synchronisation group."""
        context = tf.distribute.get_replica_context()
        return tf.cast(context.replica_id_in_sync_group, tf.int32)

    def local_results(self, value: Any) -> tuple[Any, ...]:
        """Unpacks the strategy's per-replica values."""
        return self.strategy.experimental_local_results(value)


def make_engine(
    name: EngineName = "auto", virtual_devices: int | None = None
) -> Engine:
    """Chooses and starts an engine.

    Args:
        name: `one_device`; `mirrored`: all GPUs of this host, or all logical
            CPU devices where there is none; `auto`: `mirrored` where there are
            several of them, `one_device` otherwise.
        virtual_devices: Splits the CPU into this many logical devices, at
            least 1, for tests and laptops. GPUs are left alone, unused.

    Raises:
        errors.ConfigError: `virtual_devices` is below 1, or TensorFlow has
            started with another number.
    """
    if virtual_devices is not None:
        _split_cpu(virtual_devices)
    kind = "CPU" if virtual_devices else "GPU"
    devices = tf.config.list_logical_devices(kind)
    devices = devices or tf.config.list_logical_devices("CPU")
    if name == "auto":
        name = "mirrored" if len(devices) > 1 else "one_device"
        logging.info(
            "make_engine.name='auto' chose %r: %d %s device(s) visible.",
            name,
            len(devices),
            devices[0].device_type,
        )
    if name == "one_device":
        return OneDevice()
    return mirrored([device.name for device in devices])


def mirrored(devices: Sequence[str]) -> Engine:
    """Returns the engine with a replica on each device of this host.

    Args:
        devices: Names such as "GPU:0"; all GPUs, or all CPUs.
    """
    # CPU collectives of two engines in one process get in each other's way;
    # GPUs keep the default, NCCL.
    on_cpu = all("CPU" in device for device in devices)
    operations = tf.distribute.ReductionToOneDevice() if on_cpu else None
    return Distributed(
        "mirrored", tf.distribute.MirroredStrategy(list(devices), operations)
    )


def _split_cpu(count: int) -> None:
    if count < 1:
        raise errors.ConfigError(
            f"make_engine.virtual_devices={count} must be at least 1, or None "
            "to leave the CPU whole."
        )
    cpus = tf.config.list_physical_devices("CPU")
    try:
        tf.config.set_logical_device_configuration(
            cpus[0], [tf.config.LogicalDeviceConfiguration()] * count
        )
    except RuntimeError as error:
        started = len(tf.config.list_logical_devices("CPU"))
        if started == count:
            return
        raise errors.ConfigError(
            f"make_engine.virtual_devices={count}, but TensorFlow has already "
            f"started with {started} CPU device(s). Make the engine before "
            "anything else uses TensorFlow."
        ) from error
