"""Which cores each of several processes on a host runs on."""

import os
from collections.abc import Collection, Mapping

_TOPOLOGY = "/sys/devices/system/cpu/cpu{}/topology/{}"


def available() -> list[int]:
    """Returns the cores that this process may run on."""
    return sorted(os.sched_getaffinity(0))


def places(cores: Collection[int]) -> dict[int, tuple[int, int]]:
    """Returns the package and the physical core of each logical core."""
    return {
        core: (_read(core, "physical_package_id"), _read(core, "core_id"))
        for core in cores
    }


def _read(core: int, name: str) -> int:
    try:
        with open(_TOPOLOGY.format(core, name)) as file:
            return int(file.read())
    except (OSError, ValueError):
        return core if name == "core_id" else 0


def split(
    where: Mapping[int, tuple[int, int]], workers: int
) -> list[tuple[int, ...]]:
    """Returns a set of cores for each worker; no two have one in common.

    Logical cores of one physical core stay together, and those of one package
    as far as possible. Sizes differ by one core at most.

    Args:
        where: Package and physical core of each core.
        workers: At most as many as there are cores.
    """
    cores = sorted(where, key=lambda core: (where[core], core))
    ends = [len(cores) * i // workers for i in range(workers + 1)]
    return [
        tuple(sorted(cores[low:high]))
        for low, high in zip(ends, ends[1:], strict=False)
    ]
