"""Who the other worker processes are, and whether they have come.

A launcher names them in LOCKSTEP_WORKERS ("host:port,host:port") and this one
in LOCKSTEP_INDEX; TensorFlow's own TF_CONFIG is understood as well.

TensorFlow waits long for a worker that does not come and does not say which
one. So the workers meet here first: worker 0 listens where TensorFlow will, the
others report to it, and it tells everyone who is missing.
"""

import contextlib
import dataclasses
import json
import os
import selectors
import socket
import time
from collections.abc import Mapping
from typing import Any

from absl import logging

from trainer import errors

_WORKERS = "LOCKSTEP_WORKERS"
_INDEX = "LOCKSTEP_INDEX"
_TF_CONFIG = "TF_CONFIG"
# The tasks of TF_CONFIG that train, in the order of their numbers.
_TRAINING = ("chief", "worker")
_HOW = (
    "Start the workers with `python -m launch.local --workers=N "
    "--engine=multi_worker -- ...`, or see docs/launch.md for clusters."
)
_RETRY_SECONDS = 0.2
_REMIND_SECONDS = 30.0
_GREETING_BYTES = 1024


@dataclasses.dataclass(frozen=True)
class Cluster:
    """The worker processes of a training.

    Attributes:
        addresses: "host:port" of each.
        index: Which of them this process is.
    """

    addresses: tuple[str, ...]
    index: int

    def name(self, index: int) -> str:
        """Returns a worker's number and address for messages."""
        return f"worker {index} ({self.addresses[index]})"


def variable(environment: Mapping[str, str] = os.environ) -> str | None:
    """Returns which variable names a cluster of workers, if one does."""
    if _WORKERS in environment:
        return _WORKERS
    # Clouds leave it so where there is one machine.
    if environment.get(_TF_CONFIG, "").strip() in ("", "{}"):
        return None
    return _TF_CONFIG


def size(environment: Mapping[str, str] = os.environ) -> int:
    """Returns how many workers train together with this process.

    That is 1 where the environment names no cluster, and for a task of
    TF_CONFIG that does not train, such as an evaluator.

    Raises:
        errors.ConfigError: The environment describes a cluster, but not well.
    """
    found = variable(environment)
    if found is None:
        return 1
    if found == _TF_CONFIG:
        kind = _from_tf_config(environment[_TF_CONFIG])[0]
        if kind not in _TRAINING:
            return 1
    return len(from_environment(environment).addresses)


def from_environment(environment: Mapping[str, str] = os.environ) -> Cluster:
    """Returns the cluster that the environment describes.

    Raises:
        errors.ConfigError: It describes none, or not well.
    """
    found = variable(environment)
    if found is None:
        raise errors.ConfigError(
            f'make_engine.name="multi_worker" needs {_WORKERS} and {_INDEX}, '
            f"or {_TF_CONFIG}, in the environment; neither is set. {_HOW}"
        )
    source = f"{found}={environment[found]!r}"
    if found == _WORKERS:
        index = environment.get(_INDEX, "")
        source += f", {_INDEX}={index!r}"
        addresses = [a.strip() for a in environment[_WORKERS].split(",")]
        kind, jobs = "worker", {"worker": addresses}
    else:
        kind, index, jobs = _from_tf_config(environment[_TF_CONFIG])
        addresses = [*jobs["chief"], *jobs["worker"]]
    if kind not in jobs:
        raise errors.ConfigError(
            f"{source} makes this process a {kind!r}. Training runs on tasks "
            "of type chief and worker only; evaluate with trainer.evaluate."
        )
    _check_addresses(addresses, source)
    _check_index(index, kind, len(jobs[kind]), source)
    offset = addresses.index(jobs[kind][0])
    return Cluster(tuple(addresses), offset + int(index))


def _from_tf_config(text: str) -> tuple[str, str, dict[str, list[Any]]]:
    """Returns the task's type and index, and the addresses by type."""
    try:
        parsed = json.loads(text)
        cluster, task = parsed["cluster"], parsed["task"]
        kind, index = str(task["type"]), str(task["index"])
        jobs = {name: cluster.get(name, []) for name in _TRAINING}
        for name, addresses in jobs.items():
            if not isinstance(addresses, list):
                raise TypeError(f"{name} is no list: {addresses!r}")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise errors.ConfigError(
            f"{_TF_CONFIG}={text!r} is malformed ({type(error).__name__}: "
            f'{error}). It must look like {{"cluster": {{"worker": '
            '["host:port", ...]}, "task": {"type": "worker", "index": 0}}. '
            f"{_HOW}"
        ) from error
    return kind, index, jobs


def _check_addresses(addresses: list[Any], source: str) -> None:
    for address in addresses:
        host, _, port = str(address).rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 65536:
            raise errors.ConfigError(
                f"{source}: {address!r} is not host:port with a port from 1 "
                f"to 65535. {_HOW}"
            )
    if len(set(addresses)) < len(addresses):
        raise errors.ConfigError(
            f"{source}: two workers have the same address. {_HOW}"
        )


def _check_index(index: str, kind: str, count: int, source: str) -> None:
    if not count:
        raise errors.ConfigError(
            f"{source} makes this process a {kind!r}, but has no address of "
            f"one. {_HOW}"
        )
    if not index.isdecimal() or int(index) >= count:
        raise errors.ConfigError(
            f"{source}: the index {index!r} must be from 0 to {count - 1}, as "
            f"there are {count} tasks of type {kind}. {_HOW}"
        )


def wait_for_all(cluster: Cluster, timeout: float) -> None:
    """Returns when all workers have started; every worker must call it.

    Worker 0 decides who is absent, `timeout` after it has come itself. Who has
    reached it waits for that, even past a time-out of its own.

    Args:
        cluster: Who is expected.
        timeout: Seconds to wait, above 0.

    Raises:
        errors.ConfigError: Another process is the same worker.
        errors.EngineError: Someone did not come in time; the message says who.
    """
    if len(cluster.addresses) == 1:
        return
    if cluster.index == 0:
        absent = _gather(cluster, timeout)
    else:
        absent = _report(cluster, timeout)
    if absent:
        raise errors.EngineError(
            f"{absent} did not come within {timeout:.0f} s "
            "(make_engine.startup_timeout). See its log for why, and whether "
            "this host can reach its address; then start all workers again."
        )


def _gather(cluster: Cluster, timeout: float) -> str:
    """Worker 0's part: returns who is absent, as text, after telling all."""
    here: dict[int, socket.socket] = {}
    expected = set(range(1, len(cluster.addresses)))
    deadline = time.monotonic() + timeout
    reminder = time.monotonic() + _REMIND_SECONDS
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(_listen(cluster))
        chooser = stack.enter_context(selectors.DefaultSelector())
        chooser.register(server, selectors.EVENT_READ)
        while here.keys() != expected:
            ready = chooser.select(_RETRY_SECONDS)
            # Who has knocked in time is let in.
            if not ready and time.monotonic() > deadline:
                break
            for key, _ in ready:
                if key.fileobj is server:
                    peer = stack.enter_context(server.accept()[0])
                    chooser.register(peer, selectors.EVENT_READ, peer)
                elif not _greets(key.data, here, cluster):
                    chooser.unregister(key.data)
                    key.data.close()
            if time.monotonic() > reminder:
                reminder += _REMIND_SECONDS
                logging.info("Waiting for %s.", _names(cluster, here))
        absent = _names(cluster, here)
        for peer in here.values():
            with contextlib.suppress(OSError):
                peer.sendall(json.dumps({"absent": absent}).encode() + b"\n")
        return absent


def _names(cluster: Cluster, here: Mapping[int, Any]) -> str:
    indices = range(1, len(cluster.addresses))
    return ", ".join(cluster.name(i) for i in indices if i not in here)


def _listen(cluster: Cluster) -> socket.socket:
    port = int(cluster.addresses[0].rpartition(":")[2])
    server = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        server.bind(("", port))
        server.listen(1024)
    except OSError as error:
        server.close()
        raise errors.EngineError(
            f"{cluster.name(0)} cannot listen on port {port}: {error}. "
            "Another process has it; choose another port."
        ) from error
    return server


def _greets(
    peer: socket.socket, here: dict[int, socket.socket], cluster: Cluster
) -> bool:
    """Notes who has called; returns False for who is not of us, or gone.

    A worker says one thing, who it is. What comes after that is its end.
    """
    for index, known in here.items():
        if known is peer:
            del here[index]
            return False
    try:
        index = int(json.loads(peer.recv(_GREETING_BYTES))["index"])
    except (OSError, ValueError, KeyError, TypeError):
        return False
    if not 0 < index < len(cluster.addresses):
        return False
    if index in here:
        _refuse(peer, here[index], cluster.name(index))
        return False
    here[index] = peer
    return True


def _refuse(peer: socket.socket, first: socket.socket, name: str) -> None:
    """Tells a caller that another process is who it says to be."""
    with contextlib.suppress(OSError):
        text = (
            f"Two processes say that they are {name}: the first has come from "
            f"{first.getpeername()[0]}, another from {peer.getpeername()[0]}. "
            f"Give each its own {_INDEX}, or index in {_TF_CONFIG}, and end "
            "what is left of an earlier start."
        )
        logging.warning("%s", text)
        peer.sendall(json.dumps({"refused": text}).encode() + b"\n")


def _report(cluster: Cluster, timeout: float) -> str:
    """The others' part: returns who is absent, as worker 0 says.

    Raises:
        errors.ConfigError: Another process is the same worker.
        errors.EngineError: Worker 0 has come and gone without a word.
    """
    host, _, port = cluster.addresses[0].rpartition(":")
    deadline = time.monotonic() + timeout
    reached = False
    while (left := deadline - time.monotonic()) > 0:
        try:
            with socket.create_connection((host, int(port)), left) as peer:
                peer.sendall(json.dumps({"index": cluster.index}).encode())
                # Its clock may have started just now.
                peer.settimeout(timeout + _REMIND_SECONDS)
                with peer.makefile() as answers:
                    reached = True
                    answer = json.loads(answers.readline())
                if "refused" not in answer:
                    return answer["absent"]
                raise errors.ConfigError(answer["refused"])
        except errors.ConfigError:
            raise
        except (OSError, ValueError, KeyError, TypeError):
            time.sleep(_RETRY_SECONDS)
    if reached:
        raise errors.EngineError(
            f"{cluster.name(0)} came, but ended before all workers were there. "
            "See its log for why; then start all workers again."
        )
    return cluster.name(0)
