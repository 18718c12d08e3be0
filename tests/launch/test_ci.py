""".ci/run: the order of what it runs, and what it installs before."""

import os
from shutil import which

import pytest

from tests.conftest import REPO
from tests.launch.conftest import Bench

RUN = REPO / ".ci" / "run"


@pytest.fixture
def bare(bench: Bench) -> Bench:
    """A machine with a browser and curl, but neither Slurm nor iproute2."""
    for tool in ("bash", "dirname"):
        (bench.bin / tool).symlink_to(which(tool))
    for tool in ("chromium", "chromedriver", "curl", "make"):
        bench.fake(tool)
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


@pytest.mark.skipif(os.geteuid() != 0, reason="only root installs")
def test_the_browser_is_installed_too(bare: Bench) -> None:
    for tool in ("chromium", "chromedriver"):
        (bare.bin / tool).unlink()
    bare.fake("ip")
    bare.fake("sbatch")
    assert run(bare).returncode == 0
    _, install = bare.calls("apt-get")
    assert {a for a in install.arguments[1:] if a[0] != "-"} == {
        "chromium",
        "chromium-driver",
    }


def test_what_cannot_be_installed_is_told(bare: Bench) -> None:
    bare.fake("sbatch")
    bare.fake("apt-get", "raise SystemExit(100)")
    answer = run(bare)
    assert answer.returncode == 0, answer.stderr
    assert "will leave out what needs iproute2" in answer.stderr
    assert targets(bare) == [["lint"], ["test"], ["test-long"]]


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
