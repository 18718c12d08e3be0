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
import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from input import spec

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

        Args:
            tensors: All of one dtype.
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

    def broadcast(self, variables: Sequence[tf.Variable]) -> None:
        """Gives every replica of every host the chief's values, bit for bit.

        Args:
            variables: The same on every host, of 4 or 8 bytes an element.
        """
        if self.host.count == 1 or not variables:
            return

        def send() -> None:
            chief = self.replica_index() == 0
            bits = [tf.bitcast(v.read_value(), tf.int32) for v in variables]
            shares = [tf.where(chief, b, tf.zeros_like(b)) for b in bits]
            sums = self.all_reduce(shares)
            for variable, total in zip(variables, sums, strict=True):
                variable.assign(tf.bitcast(total, variable.dtype))

        tf.function(lambda: self.run(send), autograph=False)()

    def exchange(self, payload: bytes) -> list[bytes]:
        """Returns what every host has sent, in order of the hosts.

        To be called by all hosts alike, between steps.
        """
        if self.host.count == 1:
            return [payload]
        sizes = self._gather(np.array([len(payload)], np.int64))[:, 0]
        own = np.zeros([-(-max(sizes) // 8)], np.int64)
        own.view(np.uint8)[: len(payload)] = np.frombuffer(payload, np.uint8)
        return [
            row.tobytes()[:size]
            for row, size in zip(self._gather(own), sizes, strict=True)
        ]

    def leave_together(self) -> None:
        """Returns when all hosts have come so far; each may end after that.

        To be called by all hosts alike, last of all: one that leaves early
        looks like one that has crashed.
        """
        self.exchange(b"done")

    def sum_over_hosts(self, numbers: np.ndarray) -> np.ndarray:
        """Returns the sum of what every host has given, on all of them.

        To be called by all hosts alike, between steps.

        Args:
            numbers: int64, of the same shape on every host.
        """
        if self.host.count == 1 or not numbers.size:
            return numbers
        total = self._sum_over_hosts(numbers.reshape([-1]))
        return np.array(total).reshape(numbers.shape)

    def _gather(self, row: np.ndarray) -> np.ndarray:
        """Returns the int64 [n] rows of all hosts: [hosts, n]."""
        rows = np.zeros([self.host.count, *row.shape], np.int64)
        rows[self.host.index] = row
        return self.sum_over_hosts(rows)

    @functools.cached_property
    def _sum_over_hosts(self) -> Callable[[np.ndarray], tf.Tensor]:
        def share(numbers: tf.Tensor) -> tf.Tensor:
            # One replica speaks for its host.
            speaks = self.replica_index() % self.host.replicas == 0
            zeros = tf.zeros_like(numbers)
            return self.all_reduce([tf.where(speaks, numbers, zeros)])[0]

        return tf.function(
            lambda numbers: self.first(self.run(share, numbers)),
            input_signature=[tf.TensorSpec([None], tf.int64)],
            autograph=False,
        )

    def describe(self) -> str:
        """Returns one line for logs and reports."""
        plural = "replica" if self.num_replicas == 1 else "replicas"
        hosts = (
            f" in {self.host.count} processes" if self.host.count > 1 else ""
        )
        return f"{self.name}, {self.num_replicas} {plural}{hosts}"


class OneReplica(Engine):
    """One replica in this process: no tf.distribute at all."""

    def scope(self) -> contextlib.AbstractContextManager[Any]:
        """Returns a context that does nothing."""
        return contextlib.nullcontext()

    def distribute(self, dataset_fn: DatasetFn) -> Iterable[Any]:
        """Returns the data set of this process."""
        return dataset_fn(self.host)

    def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """Calls the function."""
        return function(*args)

    def local_results(self, value: Any) -> tuple[Any, ...]:
        """Returns the value itself as the only result."""
        return (value,)


class OneDevice(OneReplica):
    """A single GPU, or the CPU: nobody to add up with."""

    name = "one_device"
    num_replicas = 1
    host = spec.HostShare(index=0, count=1, replicas=1)

    def all_reduce(self, tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """Returns the tensors: the sum over one replica."""
        return list(tensors)

    def replica_index(self) -> tf.Tensor:
        """Returns 0."""
        return tf.constant(0)
