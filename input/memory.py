"""How much memory this process may still take."""

import pathlib

_PROC = pathlib.Path("/proc")
_CGROUPS = pathlib.Path("/sys/fs/cgroup")


def free_bytes(
    proc: pathlib.Path = _PROC, cgroups: pathlib.Path = _CGROUPS
) -> int:
    """Returns the bytes that are free on this host and in its control groups.

    What the kernel can drop at once, such as the cache of files, counts as
    free.

    Args:
        proc: Where the kernel shows its processes.
        cgroups: Where it shows its control groups, of version 1 or 2.
    """
    found = [_of_host(proc)]
    for line in _lines(proc / "self" / "cgroup"):
        number, controllers, path = line.split(":", 2)
        if number == "0":
            found += _of_groups(
                cgroups, path, "memory.max", "memory.current", "inactive_file"
            )
        elif "memory" in controllers.split(","):
            found += _of_groups(
                cgroups / "memory",
                path,
                "memory.limit_in_bytes",
                "memory.usage_in_bytes",
                "total_inactive_file",
            )
    return max(0, min(found))


def _of_host(proc: pathlib.Path) -> int:
    for line in _lines(proc / "meminfo"):
        name, _, rest = line.partition(":")
        if name == "MemAvailable":
            return int(rest.split()[0]) * 1024
    raise OSError(f"{proc}/meminfo has no line MemAvailable.")


def _of_groups(
    root: pathlib.Path, path: str, limit: str, used: str, droppable: str
) -> list[int]:
    """Returns what is free in a group and in each group around it."""
    found = []
    group = root / path.lstrip("/")
    # In a container the path is that of the host, which is not mounted.
    for each in [group, *group.parents]:
        if not each.is_relative_to(root):
            break
        most, now = _lines(each / limit), _lines(each / used)
        if most and now and most[0].isdecimal():
            statistics = dict(
                line.split(" ", 1) for line in _lines(each / "memory.stat")
            )
            dropped = int(statistics.get(droppable, 0))
            found.append(int(most[0]) - int(now[0]) + dropped)
    return found


def _lines(path: pathlib.Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
