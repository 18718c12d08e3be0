"""The engine over Horovod: one process a device, all-reduce by Horovod.

No `DistributedOptimizer`: the step sums gradients itself, on raw tensors in one
grouped call, as on every other engine. What is lacking when Horovod cannot be
imported is said in one message.
"""

import os
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf
from absl import logging

from input import spec
from trainer import engine, errors

_INSTALL = (
    "Install it with `python -m launch.install_horovod`, which builds it for "
    "this TensorFlow."
)
_SCOPE = "lockstep"
_POLL_SECONDS = 0.2
_HTTP_SECONDS = 5.0
# How often Horovod's background thread looks for work, in ms. Its default, 1,
# takes 13 % of the core that a CPU process trains on (docs/benchmarks.md).
_CPU_CYCLE_TIME = "5"


class Horovod(engine.OneReplica):
    """One replica in this process, the others in other processes.

    Args:
        hvd: The module horovod.tensorflow, initialised.
    """

    name = "horovod"

    def __init__(self, hvd: Any) -> None:
        self._hvd = hvd
        self.num_replicas = hvd.size()
        self.host = spec.HostShare(hvd.rank(), hvd.size(), replicas=1)

    def all_reduce(self, tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """Adds up across all processes, as one group."""
        return self._hvd.grouped_allreduce(list(tensors), op=self._hvd.Sum)

    def replica_index(self) -> tf.Tensor:
        """Returns the rank."""
        return tf.constant(self.host.index)


def is_launched(environment: Mapping[str, str] = os.environ) -> bool:
    """Returns whether a launcher of Horovod has started this process."""
    return "HOROVOD_RANK" in environment


def start(timeout: float) -> engine.Engine:
    """Returns the engine, one GPU a process where there are any.

    Args:
        timeout: Seconds to wait for the other processes.

    Raises:
        errors.ConfigError: Horovod is not installed, or for another TensorFlow.
        errors.EngineError: Another process did not come in time.
    """
    hvd = _import()
    _wait_for_all(os.environ, timeout)
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        os.environ.setdefault("HOROVOD_CYCLE_TIME", _CPU_CYCLE_TIME)
    hvd.init()
    if gpus:
        if hvd.local_rank() >= len(gpus):
            raise errors.ConfigError(
                f"Process {hvd.local_rank()} of this host has no GPU: there "
                f"are {len(gpus)}. Start at most one process a GPU."
            )
        tf.config.set_visible_devices(gpus[hvd.local_rank()], "GPU")
    if hvd.size() == 1:
        logging.info(
            "Horovod runs with one process. For more, use `python -m "
            "launch.local --workers=N --engine=horovod -- ...`."
        )
    return Horovod(hvd)


def _import() -> Any:
    try:
        import horovod.tensorflow as hvd
    except ModuleNotFoundError as error:
        raise errors.ConfigError(
            'make_engine.name="horovod", but Horovod is not installed '
            f"({error}). {_INSTALL}"
        ) from error
    except (ImportError, tf.errors.OpError, OSError, ValueError) as error:
        reason = (str(error).splitlines() or [""])[0]
        raise errors.ConfigError(
            'make_engine.name="horovod", but the installed Horovod does not '
            f"work with TensorFlow {tf.__version__}: {reason}. {_INSTALL}"
        ) from error
    return hvd


def _wait_for_all(environment: Mapping[str, str], timeout: float) -> None:
    """Meets the other processes at the launcher's rendezvous server.

    Horovod itself waits for them too, but does not say who is missing. Under
    MPI there is no such server, and MPI has started all processes already.
    """
    host = environment.get("HOROVOD_GLOO_RENDEZVOUS_ADDR")
    port = environment.get("HOROVOD_GLOO_RENDEZVOUS_PORT")
    size = int(environment.get("HOROVOD_SIZE", "1"))
    if not host or not port or size == 1:
        return
    url = f"http://{host}:{port}/{_SCOPE}/"
    deadline = time.monotonic() + timeout
    absent = {*range(size)} - {int(environment["HOROVOD_RANK"])}
    announced = False
    while absent and time.monotonic() < deadline:
        announced = announced or _put(url + environment["HOROVOD_RANK"])
        absent = {rank for rank in absent if not _is_there(f"{url}{rank}")}
        if absent:
            time.sleep(_POLL_SECONDS)
    if absent:
        names = ", ".join(f"process {rank}" for rank in sorted(absent))
        raise errors.EngineError(
            f"{names} of {size} did not come to http://{host}:{port} within "
            f"{timeout:.0f} s (make_engine.startup_timeout). See its log for "
            "why; then start all processes again."
        )


def _put(url: str) -> bool:
    request = urllib.request.Request(url, data=b"here", method="PUT")
    try:
        with urllib.request.urlopen(request, timeout=_HTTP_SECONDS):
            return True
    except (urllib.error.URLError, OSError):
        return False


def _is_there(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=_HTTP_SECONDS):
            return True
    except (urllib.error.URLError, OSError):
        return False
