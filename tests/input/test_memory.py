"""Free memory by a kernel that is made of files."""

import pathlib

import pytest

from input import memory

MIB = 2**20


def write(root: pathlib.Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


@pytest.mark.parametrize(
    ("files", "free"),
    [
        ({"proc/self/cgroup": "0::/\n"}, 1000),
        # Version 2: an outer group has the tighter limit.
        (
            {
                "proc/self/cgroup": "0::/outer/inner\n",
                "cgroup/outer/inner/memory.max": "max\n",
                "cgroup/outer/inner/memory.current": "5\n",
                "cgroup/outer/memory.max": f"{300 * MIB}\n",
                "cgroup/outer/memory.current": f"{200 * MIB}\n",
                "cgroup/outer/memory.stat": f"anon 1\ninactive_file {50 * MIB}",
            },
            150,
        ),
        # In a container: the path is the host's, the limit is at the root.
        (
            {
                "proc/self/cgroup": "0::/pods/1\n",
                "cgroup/memory.max": f"{64 * MIB}\n",
                "cgroup/memory.current": f"{60 * MIB}\n",
            },
            4,
        ),
        # Version 1; used beyond the limit.
        (
            {
                "proc/self/cgroup": "5:cpu,cpuacct:/a\n4:memory:/a\n",
                "cgroup/memory/a/memory.limit_in_bytes": f"{10 * MIB}\n",
                "cgroup/memory/a/memory.usage_in_bytes": f"{20 * MIB}\n",
            },
            0,
        ),
    ],
)
def test_the_tightest_limit_counts(
    tmp_path: pathlib.Path, files: dict[str, str], free: int
) -> None:
    write(tmp_path, {"proc/meminfo": f"MemAvailable: {1000 * 1024} kB\n"})
    write(tmp_path, files)
    found = memory.free_bytes(tmp_path / "proc", tmp_path / "cgroup")
    assert found == free * MIB


def test_of_this_host() -> None:
    assert memory.free_bytes() > MIB
