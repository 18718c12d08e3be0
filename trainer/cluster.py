"""Who the other worker processes are.

A launcher names them in LOCKSTEP_WORKERS ("host:port,host:port") and this one
in LOCKSTEP_INDEX; TensorFlow's own TF_CONFIG is understood as well.
"""

import dataclasses
import json
import os
from collections.abc import Mapping
from typing import Any

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
