"""Where a process stands among those of its job, as the scheduler says.

Read from the first of these that is there:

* LOCKSTEP_WORKERS ("host:port,host:port") and LOCKSTEP_INDEX: said outright;
* SLURM_PROCID and its like: one task of `srun`;
* LOCKSTEP_HOSTS ("run-[0-3].run", a host for each process) and
  JOB_COMPLETION_INDEX: a pod of a Kubernetes Indexed Job.
"""

import dataclasses
from collections.abc import Mapping

from launch import hosts

DEFAULT_PORT = 12345
# Below the ports that Linux gives to outgoing connections (32768 on), and apart
# for jobs that share a node.
_SLURM_FIRST_PORT = 12000
_SLURM_PORT_BLOCKS = 300
_SLURM_PORTS_A_JOB = 64


class PlacementError(ValueError):
    """The environment does not say where this process stands."""


@dataclasses.dataclass(frozen=True)
class Placement:
    """A process among those of its job.

    Attributes:
        addresses: "host:port" of each, all different.
        index: Which of them this one is.
    """

    addresses: tuple[str, ...]
    index: int

    @property
    def hosts(self) -> list[str]:
        """The host of each process."""
        return [address.rpartition(":")[0] for address in self.addresses]

    @property
    def size(self) -> int:
        """How many processes there are."""
        return len(self.addresses)

    @property
    def local_rank(self) -> int:
        """How many processes on this host come before this one."""
        return self._local_ranks()[self.index]

    @property
    def local_size(self) -> int:
        """How many processes are on this host."""
        return self.hosts.count(self.hosts[self.index])

    @property
    def cross_rank(self) -> int:
        """How many processes with the same local rank come before this one."""
        return self._local_ranks()[: self.index].count(self.local_rank)

    @property
    def cross_size(self) -> int:
        """How many processes have the same local rank, one on each host."""
        return self._local_ranks().count(self.local_rank)

    def _local_ranks(self) -> list[int]:
        where = self.hosts
        return [where[:i].count(host) for i, host in enumerate(where)]


def find(environment: Mapping[str, str], port: int = 0) -> Placement:
    """Returns where the process with this environment stands.

    Args:
        environment: Its variables.
        port: First port of each host; the processes of a host count up from
            it. 0: by the number of the job under Slurm, DEFAULT_PORT elsewhere.

    Raises:
        PlacementError: No scheduler is known by its variables, or they
            contradict each other.
    """
    if "LOCKSTEP_WORKERS" in environment:
        return _said_outright(environment)
    if "SLURM_PROCID" in environment:
        return _under_slurm(environment, port)
    if "LOCKSTEP_HOSTS" in environment:
        return _in_indexed_job(environment, port or DEFAULT_PORT)
    raise PlacementError(
        "Nothing says which process of the job this is: none of "
        "LOCKSTEP_WORKERS, SLURM_PROCID and LOCKSTEP_HOSTS is set. Run this "
        "by srun or in a Kubernetes Indexed Job (docs/launch.md), or set "
        "LOCKSTEP_WORKERS=host:port,host:port and LOCKSTEP_INDEX; on one host "
        "use launch.local."
    )


def _said_outright(environment: Mapping[str, str]) -> Placement:
    text = environment["LOCKSTEP_WORKERS"]
    addresses = tuple(address.strip() for address in text.split(","))
    for address in addresses:
        host, _, port = address.rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 65536:
            raise PlacementError(
                f"LOCKSTEP_WORKERS={text!r} must be host:port,host:port, with "
                f"ports from 1 to 65535; {address!r} is not."
            )
    index = _number(environment, "LOCKSTEP_INDEX")
    return _checked(addresses, index, "LOCKSTEP_INDEX")


def _in_indexed_job(environment: Mapping[str, str], port: int) -> Placement:
    names = _expanded(environment, "LOCKSTEP_HOSTS")
    index = _number(environment, "JOB_COMPLETION_INDEX")
    return _checked(_addresses(names, port), index, "JOB_COMPLETION_INDEX")


def _under_slurm(environment: Mapping[str, str], port: int) -> Placement:
    """Ranks are in blocks: those of the first node, those of the next."""
    if "SLURM_STEP_NODELIST" in environment:
        names_of = "SLURM_STEP_NODELIST", "SLURM_STEP_TASKS_PER_NODE"
    else:
        names_of = "SLURM_JOB_NODELIST", "SLURM_TASKS_PER_NODE"
    nodes = _expanded(environment, names_of[0])
    counts = _tasks(environment, names_of[1], len(nodes))
    names = [
        node
        for node, count in zip(nodes, counts, strict=True)
        for _ in range(count)
    ]
    tasks = _number(environment, "SLURM_NTASKS")
    if tasks != len(names):
        raise PlacementError(
            f"SLURM_NTASKS={tasks}, but {names_of[1]} makes {len(names)} "
            "tasks. Unset what an outer job has left behind."
        )
    if not port:
        block = _number(environment, "SLURM_JOB_ID") % _SLURM_PORT_BLOCKS
        port = _SLURM_FIRST_PORT + block * _SLURM_PORTS_A_JOB
    index = _number(environment, "SLURM_PROCID")
    found = _checked(_addresses(names, port), index, "SLURM_PROCID")
    local = _number(environment, "SLURM_LOCALID")
    if local != found.local_rank:
        raise PlacementError(
            f"SLURM_LOCALID={local}, but task {index} would be number "
            f"{found.local_rank} of its node. Ranks must be in blocks: write "
            "srun --distribution=block."
        )
    return found


def _addresses(names: list[str], port: int) -> tuple[str, ...]:
    return tuple(
        f"{name}:{port + names[:i].count(name)}" for i, name in enumerate(names)
    )


def _expanded(environment: Mapping[str, str], name: str) -> list[str]:
    text = _value(environment, name)
    try:
        return hosts.expand(text)
    except ValueError as error:
        raise PlacementError(f"{name}: {error}") from error


def _tasks(environment: Mapping[str, str], name: str, nodes: int) -> list[int]:
    text = _value(environment, name)
    try:
        counts = hosts.tasks_per_node(text)
    except ValueError as error:
        raise PlacementError(f"{name}: {error}") from error
    if len(counts) != nodes:
        raise PlacementError(
            f"{name}={text!r} is for {len(counts)} nodes, but the list of "
            f"nodes has {nodes}. Unset what an outer job has left behind."
        )
    return counts


def _value(environment: Mapping[str, str], name: str) -> str:
    if not environment.get(name):
        raise PlacementError(
            f"{name} is not set, though the variables beside it are. See "
            "docs/launch.md for what the scheduler has to set."
        )
    return environment[name]


def _number(environment: Mapping[str, str], name: str) -> int:
    text = _value(environment, name)
    if not text.isdecimal():
        raise PlacementError(
            f"{name}={text!r} must be a whole number, 0 or more."
        )
    return int(text)


def _checked(addresses: tuple[str, ...], index: int, name: str) -> Placement:
    if len(set(addresses)) < len(addresses):
        raise PlacementError(
            f"Two processes have the same address: {','.join(addresses)}. "
            "Give each its own port."
        )
    if index >= len(addresses):
        raise PlacementError(
            f"{name}={index} must be below {len(addresses)}, the number of "
            "processes."
        )
    return Placement(addresses, index)
