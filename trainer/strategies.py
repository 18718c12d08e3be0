"""The engines of `tf.distribute`: devices of one host, many hosts, TPUs."""

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import tensorflow as tf
from tensorflow.python.eager import context as tf_context

from input import spec
from trainer import cluster as cluster_lib
from trainer import engine, errors, meeting

_RETRY_SECONDS = 0.2
_LEAVE_SECONDS = 30


class Distributed(engine.Engine):
    """Any synchronous `tf.distribute` strategy.

    Args:
        name: The engine's name.
        strategy: Has its devices already.
        index: This process, in [0, count).
        count: Processes in all, with equally many replicas each.
    """

    def __init__(
        self,
        name: str,
        strategy: tf.distribute.Strategy,
        index: int = 0,
        count: int = 1,
    ) -> None:
        self.name = name
        self.strategy = strategy
        self.num_replicas = strategy.num_replicas_in_sync
        self.host = spec.HostShare(index, count, self.num_replicas // count)

    def scope(self) -> contextlib.AbstractContextManager[Any]:
        """Returns the strategy's scope."""
        return self.strategy.scope()

    def distribute(self, dataset_fn: engine.DatasetFn) -> Iterable[Any]:
        """Deals successive batches of the host to its replicas."""

        # On a TPU pod one process feeds all hosts, each by a pipeline.
        def of_pipeline(context: tf.distribute.InputContext) -> tf.data.Dataset:
            pipelines = context.num_input_pipelines
            replicas = self.num_replicas // pipelines
            return dataset_fn(
                spec.HostShare(context.input_pipeline_id, pipelines, replicas)
            )

        return self.strategy.distribute_datasets_from_function(of_pipeline)

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


class MultiWorker(Distributed):
    """Several processes, each with its devices; see `multi_worker`."""

    def leave_together(self) -> None:
        """Returns when no host is still receiving from this one.

        A host has done its part of a collective when its last share is on its
        way. If it ends then, those who wait for the share fail.
        """
        super().leave_together()
        # Who is told last may find worker 0, which keeps the barrier, gone.
        with contextlib.suppress(tf.errors.OpError):
            tf_context.context().wait_at_barrier(
                "lockstep/leave", 1000 * _LEAVE_SECONDS
            )


def mirrored(devices: Sequence[str]) -> engine.Engine:
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


def multi_worker(cluster: cluster_lib.Cluster, timeout: float) -> engine.Engine:
    """Returns the engine with a replica on each GPU, or CPU, of every worker.

    Args:
        cluster: All workers and which one this is.
        timeout: Seconds to wait for the others.

    Raises:
        errors.EngineError: A worker did not come.
    """
    meeting.wait_for_all(cluster, timeout)
    gpus = len(tf.config.list_physical_devices("GPU"))
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec({"worker": list(cluster.addresses)}),
        task_type="worker",
        task_id=cluster.index,
        num_accelerators={"GPU": gpus},
        rpc_layer="grpc",
    )
    choices = tf.distribute.experimental.CommunicationImplementation
    options = tf.distribute.experimental.CommunicationOptions(
        implementation=choices.NCCL if gpus else choices.RING
    )
    with _own_sigterm():
        strategy = tf.distribute.MultiWorkerMirroredStrategy(resolver, options)
    return MultiWorker(
        "multi_worker", strategy, cluster.index, len(cluster.addresses)
    )


@contextlib.contextmanager
def _own_sigterm() -> Iterator[None]:
    """Gives SIGTERM back; TensorFlow takes it where it joins a cluster."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler)


def tpu(timeout: float) -> engine.Engine:
    """Returns the engine with a replica on each TPU core.

    It uses the TPU of this machine, or the one that the environment variable
    TPU_NAME names: a pod, whose hosts are all driven from this process.

    Args:
        timeout: Seconds to wait for the hosts of a TPU that is elsewhere.

    Raises:
        errors.ConfigError: There is no TPU.
        errors.EngineError: A host of it does not answer.
    """
    name = os.environ.get("TPU_NAME") or "local"
    try:
        with _own_sigterm():
            resolver = tf.distribute.cluster_resolver.TPUClusterResolver(name)
            _wait_for_hosts(resolver.cluster_spec(), timeout)
            tf.config.experimental_connect_to_cluster(resolver)
            tf.tpu.experimental.initialize_tpu_system(resolver)
            strategy = tf.distribute.TPUStrategy(resolver)
    except errors.EngineError:
        raise
    except (
        # Of a look-up at Google: no network, and no client library.
        *(OSError, ImportError),
        *(ValueError, RuntimeError, tf.errors.OpError),
    ) as error:
        raise errors.ConfigError(
            'make_engine.name="tpu" found no TPU: '
            f"{errors.reason(error)} Run on a TPU VM with TensorFlow for TPUs "
            "(`launch/tpu_vm.sh setup`), or name the TPU in TPU_NAME "
            f"({name!r} was looked for); elsewhere "
            'use "auto".'
        ) from error
    return Distributed("tpu", strategy)


def _wait_for_hosts(hosts: tf.train.ClusterSpec | None, timeout: float) -> None:
    """Returns when all hosts of a TPU take connections.

    TensorFlow would wait for them without an end.
    """
    jobs = hosts.as_dict() if hosts else {}
    deadline = time.monotonic() + timeout
    for address in (a for addresses in jobs.values() for a in addresses):
        while not _answers(address, deadline - time.monotonic()):
            if time.monotonic() > deadline:
                raise errors.EngineError(
                    f"The TPU host {address} does not answer within "
                    f"{timeout:.0f} s (make_engine.startup_timeout). See "
                    "whether TPU_NAME is right, the TPU is running, and this "
                    "machine can reach it."
                )
            time.sleep(_RETRY_SECONDS)


def _answers(address: str, timeout: float) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection(
            (host, int(port)), max(timeout, _RETRY_SECONDS)
        ).close()
    except OSError:
        return False
    return True
