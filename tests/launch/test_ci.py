""".ci/run: the order of what it runs, and what it installs before."""

import os
from shutil import which

import pytest

from tests.conftest import REPO
from tests.launch.conftest import Bench

RUN = REPO / ".ci" / "run"


@pytest.fixture
def bare(bench: Bench) -> Bench:
    """A machine with neither Slurm nor iproute2."""
    for tool in ("bash", "dirname"):
        (bench.bin / tool).symlink_to(which(tool))
    bench.fake("make")
    bench.fake("apt-get")
    return bench


def run(bench: Bench):
    return bench.run(RUN, PATH=str(bench.bin))


def targets(bench: Bench) -> list[list[str]]:
    return [call.arguments for call in bench.calls("make")]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root installs")
def test_root_installs_what_is_missing(bare: Bench) -> None:
    bare.fake("ip")
    answer = run(bare)
    assert answer.returncode == 0, answer.stderr
    update, install = bare.calls("apt-get")
    assert update.arguments == ["update"]
    assert install.arguments[0] == "install"
    assert [a for a in install.arguments[1:] if a[0] != "-"] == ["slurm-wlm"]
    assert targets(bare) == [["lint"], ["test"], ["test-long"]]


@pytest.mark.skipif(os.geteuid() == 0, reason="root installs")
def test_others_are_told_what_is_missing(bare: Bench) -> None:
    bare.fake("sbatch")
    answer = run(bare)
    assert answer.returncode == 1
    assert "which only root can install" in answer.stderr
    assert "apt-get install iproute2" in answer.stderr
    assert bare.calls() == []


def test_nothing_is_missing(bare: Bench) -> None:
    bare.fake("sbatch")
    bare.fake("ip")
    assert run(bare).returncode == 0
    assert targets(bare) == [["lint"], ["test"], ["test-long"]]
    assert bare.calls("apt-get") == []


def test_the_first_failure_ends_it(bare: Bench) -> None:
    bare.fake("sbatch")
    bare.fake("ip")
    bare.fake("make", "sys.exit(sys.argv[1] == 'test')")
    assert run(bare).returncode == 1
    assert targets(bare) == [["lint"], ["test"]]
