"""The engine over Horovod: one process a device, all-reduce by Horovod.

No `DistributedOptimizer`: the step sums gradients itself, on raw tensors in one
grouped call, as on every other engine. What is lacking when Horovod cannot be
imported is said in one message.
"""

import http.client
import json
import math
import os
import time
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf
from absl import logging

from input import spec
from trainer import engine, errors, launched

_INSTALL = (
    "Install it with `python -m launch.install_horovod`, which builds it for "
    "this TensorFlow."
)
_RENDEZVOUS = ("HOROVOD_GLOO_RENDEZVOUS_ADDR", "HOROVOD_GLOO_RENDEZVOUS_PORT")
_MPI_SIZES = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE")
# After these seconds, by default, Gloo gives up on another process.
_GLOO_SECONDS = 30.0
_SCOPE = "lockstep"
_VERDICT = "absent"
_POLL_SECONDS = 0.2
_HTTP_SECONDS = 5.0
# How often Horovod's background thread looks for work, in ms. It has no core of
# its own on CPUs: every 1 ms, its default, takes 10 % of one, every 10 ms 3 %.
_CPU_CYCLE_TIME = "10"


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
        """Adds up across all processes, as one group.

        Horovod cannot add bfloat16. Such tensors are exchanged as bytes and
        added up here, in float32.
        """
        if any(t.dtype == tf.bfloat16 for t in tensors):
            return self._sum_bfloat16(tensors)
        return self._hvd.grouped_allreduce(list(tensors), op=self._hvd.Sum)

    def _sum_bfloat16(self, tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """Adds up by a reduce-scatter and an all-gather of 2 bytes a value.

        Each process adds up one share, so that all get the same bits.
        """
        sizes = tf.stack([tf.size(t) for t in tensors])
        flat = tf.concat([tf.reshape(t, [-1]) for t in tensors], axis=0)
        processes, total = self._hvd.size(), tf.size(flat)
        share = total // processes + 1  # never empty
        flat = tf.pad(flat, [[0, processes * share - total]])
        received = self._hvd.alltoall(tf.bitcast(flat, tf.uint8))
        # [processes * share, 2] bytes -> [processes, share]
        parts = tf.reshape(
            tf.bitcast(received, tf.bfloat16), [processes, share]
        )
        own = tf.reduce_sum(tf.cast(parts, tf.float32), axis=0)
        bits = tf.bitcast(tf.cast(own, tf.bfloat16), tf.uint8)
        gathered = tf.bitcast(self._hvd.allgather(bits), tf.bfloat16)
        sums = tf.split(gathered[:total], sizes, num=len(tensors))
        return [
            tf.reshape(summed, tf.shape(t))
            for summed, t in zip(sums, tensors, strict=True)
        ]

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
        errors.ConfigError: Horovod is not installed, or for another TensorFlow;
            or another launcher has started this process.
        errors.EngineError: Another process did not come in time.
    """
    hvd = _import()
    _wait_for_all(os.environ, timeout)
    os.environ.setdefault(
        "HOROVOD_GLOO_TIMEOUT_SECONDS",
        str(math.ceil(max(timeout, _GLOO_SECONDS))),
    )
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        os.environ.setdefault("HOROVOD_CYCLE_TIME", _CPU_CYCLE_TIME)
    hvd.init()
    _check_size(os.environ, hvd.size())
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


def _check_size(environment: Mapping[str, str], size: int) -> None:
    """Makes sure that Horovod has not left the other processes out."""
    variable, started = launched.processes(environment)
    if size == 1 < started:
        raise errors.ConfigError(
            f'make_engine.name="horovod": {variable} says that {started} '
            "processes have been started, but Horovod knows of this one alone. "
            "Start them with `python -m launch.local --engine=horovod`, or in "
            "a job of several hosts with `python -m launch.task "
            "--engine=horovod` (docs/launch.md)."
        )


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

    Horovod itself waits for them too, but does not say who is missing. Process
    0 looks for the others and leaves word of who is absent; they look for that
    alone. Under MPI there is no such server, and MPI has started all processes
    already.
    """
    host, port = (environment.get(name) for name in _RENDEZVOUS)
    rank = launched.number(environment, "HOROVOD_RANK", 0)
    size = launched.number(environment, "HOROVOD_SIZE", 1)
    if size == 1:
        return
    if not host or not port:
        if any(name in environment for name in _MPI_SIZES):
            return
        raise errors.ConfigError(
            f"HOROVOD_SIZE={size}, but {' and '.join(_RENDEZVOUS)} do not both "
            "say where the processes meet. Start them with `python -m "
            "launch.local --engine=horovod`, or in a job of several hosts with "
            "`python -m launch.task --engine=horovod` (docs/launch.md)."
        )
    server = f"http://{host}:{port}"
    meeting = _Meeting(f"{server}/{_SCOPE}/", rank, size, timeout)
    absent = meeting.judge() if rank == 0 else meeting.hear()
    if absent:
        names = ", ".join(f"process {rank}" for rank in absent)
        raise errors.EngineError(
            f"{names} of {size} did not come to {server} within "
            f"{timeout:.0f} s (make_engine.startup_timeout). See its log for "
            "why; then start all processes again."
        )


class _Meeting:
    """The keys under which processes say on the server that they have come.

    Args:
        url: Where the keys are.
        rank: This process.
        size: How many are expected.
        timeout: Seconds that process 0 waits for the others.
    """

    def __init__(self, url: str, rank: int, size: int, timeout: float) -> None:
        self._url, self._rank, self._size = url, rank, size
        self._timeout = timeout
        # All together ask at most 500 times a second.
        self._pause = max(_POLL_SECONDS, size / 500)

    def judge(self) -> list[int]:
        """Process 0's part: returns who is absent, after telling the others."""
        absent = list(range(1, self._size))
        deadline = time.monotonic() + self._timeout
        announced = False
        while absent and time.monotonic() < deadline:
            announced = announced or self._put("0", "here")
            absent = [r for r in absent if self._get(str(r)) is None]
            if absent:
                time.sleep(self._pause)
        self._put(_VERDICT, json.dumps(absent))
        if absent:
            # The server may end with this process: first let them hear it.
            time.sleep(2 * self._pause)
        return absent

    def hear(self) -> list[int]:
        """The others' part: returns who is absent, as process 0 says."""
        deadline = time.monotonic() + self._timeout
        announced = chief_came = False
        while time.monotonic() < deadline:
            announced = announced or self._put(str(self._rank), "here")
            verdict = self._get(_VERDICT)
            if verdict is not None:
                return json.loads(verdict)
            if not chief_came and self._get("0") is not None:
                # Its clock may have started just now.
                chief_came = True
                deadline = time.monotonic() + self._timeout + _HTTP_SECONDS
            time.sleep(self._pause)
        return [0]

    def _put(self, key: str, text: str) -> bool:
        return self._ask("PUT", key, text.encode()) is not None

    def _get(self, key: str) -> bytes | None:
        return self._ask("GET", key, None)

    def _ask(self, method: str, key: str, data: bytes | None) -> bytes | None:
        """Returns the answer, or None where there is no such key or server."""
        request = urllib.request.Request(
            self._url + key, data=data, method=method
        )
        try:
            with urllib.request.urlopen(
                request, timeout=_HTTP_SECONDS
            ) as answer:
                return answer.read()
        except (OSError, http.client.HTTPException):
            return None
