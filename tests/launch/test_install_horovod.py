"""The installer. `make test` has run it; so Horovod must be there and work."""

import dataclasses
import pathlib
import re
import subprocess
import sys

import pytest

from launch import (
    horovod_build,
    horovod_install,
    horovod_target,
    install_horovod,
    progress,
    usage,
)
from tests.conftest import REPO
from tests.launch.test_horovod_build import TARGET


def call(*arguments: str) -> int:
    return install_horovod.main(["install_horovod", *arguments])


def test_horovod_adds_up_in_two_processes() -> None:
    answer = subprocess.run(
        [
            *(sys.executable, "-m", "launch.local", "--workers=2"),
            *("--engine=horovod", "--", "python", "-m", "launch.check_horovod"),
        ],
        cwd=REPO,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert answer.returncode == 0, answer.stderr[-3000:]
    assert "Horovod 0.28.1 works in 2 processes on " in answer.stdout


def test_what_is_installed_is_for_this_tensorflow() -> None:
    target = horovod_target.this_environment("cpu")
    assert horovod_install.is_for(target)
    other = dataclasses.replace(target, tensorflow="tensorflow-2.20.0")
    assert not horovod_install.is_for(other)
    assert not horovod_install.missing_dependencies()


def test_the_key_names_all_that_a_build_depends_on() -> None:
    assert TARGET.key == (
        "horovod-0.28.1-1-tensorflow-2.21.0-cpython-311-linux-x86_64-cpu"
    )
    found = horovod_target.this_environment("nccl").key
    assert found.startswith("horovod-0.28.1-1-tensorflow")
    assert sys.implementation.cache_tag in found
    assert found.endswith("-nccl")


def test_without_tensorflow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(horovod_target, "_TENSORFLOWS", ("no-such-package",))
    with pytest.raises(usage.UsageError, match="TensorFlow is not installed"):
        horovod_target.this_environment("cpu")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["now"], "'now' is not a flag"),
        (["--wheel_dir="], "--wheel_dir is empty"),
        (["--operations=mpi"], "--operations=mpi"),
        (["--forse"], "forse"),
        (["--wheel_dir=/proc/x"], "--wheel_dir: /proc/x/.*cannot be written"),
    ],
)
def test_wrong_use(arguments: list[str], message: str, capsys) -> None:
    assert call(*arguments) == 2
    out, err = capsys.readouterr()
    assert not out
    assert re.search(message, err)


def test_nccl_that_is_not_there(monkeypatch, capsys) -> None:
    for name in ("HOROVOD_NCCL_HOME", "HOROVOD_CUDA_HOME"):
        monkeypatch.setenv(name, "/nowhere")
    assert call("--operations=nccl") == 2
    assert "--operations=nccl: there is no" in capsys.readouterr().err


class FakeSteps:
    """Replaces what takes minutes; notes what is called."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[str] = []
        self.installed = self.works = True
        for module, name, does in (
            (horovod_build, "build", self.build),
            (horovod_install, "install", self.install),
            (horovod_install, "_check", self.check),
            (horovod_install, "is_for", lambda target: self.installed),
        ):
            monkeypatch.setattr(module, name, does)

    def build(self, job, progress_) -> pathlib.Path:
        self.calls.append("build")
        wheel = job.folder / "horovod-0.28.1-x.whl"
        wheel.touch()
        return wheel

    def install(self, wheel, progress_) -> None:
        self.calls.append("install")
        self.installed = self.works = True

    def check(self, job, progress_) -> str:
        self.calls.append("check")
        if not self.works:
            raise progress.StepError("no sums")
        return "it works"


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> FakeSteps:
    return FakeSteps(monkeypatch)


def test_what_is_installed_is_checked_once(steps, tmp_path, capsys) -> None:
    flag = f"--wheel_dir={tmp_path}"
    assert call(flag) == 0
    assert steps.calls == ["check"]
    assert "it works" in capsys.readouterr().out
    assert call(flag) == 0
    assert steps.calls == ["check"]
    assert "was checked before" in capsys.readouterr().out
    assert call(flag, "--force") == 0
    assert steps.calls == ["check", "build", "install", "check"]


@pytest.mark.parametrize("installed", [True, False])
def test_what_does_not_work_is_replaced(steps, tmp_path, installed) -> None:
    steps.installed, steps.works = installed, False
    first = ["check"] if installed else []
    flag = f"--wheel_dir={tmp_path}"
    assert call(flag) == 0
    assert steps.calls == [*first, "build", "install", "check"]
    # Another environment: the wheel is there.
    for stamp in tmp_path.rglob("verified-*"):
        stamp.unlink()
    steps.installed = False
    steps.calls.clear()
    assert call(flag) == 0
    assert steps.calls == ["install", "check"]


def test_a_failure_is_told(steps, tmp_path, monkeypatch, capsys) -> None:
    def fail(job, progress_) -> pathlib.Path:
        raise progress.StepError("g++: out of memory\nthe end of build.log")

    monkeypatch.setattr(horovod_build, "build", fail)
    assert call("--force", f"--wheel_dir={tmp_path}") == 1
    assert "out of memory" in capsys.readouterr().err
    assert steps.calls == []


def test_print_shows_and_does_nothing(steps, tmp_path, capsys) -> None:
    steps.installed = False
    flags = (f"--wheel_dir={tmp_path}/wheels", "--print")
    assert call(*flags) == 0
    out = capsys.readouterr().out
    for text in (
        horovod_target.this_environment("cpu").key,
        "not built yet",
        horovod_build.SDIST_SHA256,
        f"install it into {sys.prefix}",
        "two processes",
    ):
        assert text in out
    assert call(*flags, "--force") == 0
    assert steps.calls == []
    assert not list(tmp_path.iterdir())


def test_help(capsys) -> None:
    assert call("--help") == 0
    out = capsys.readouterr().out
    for text in ("--wheel_dir", "--[no]force", "--[no]print", "Exit codes"):
        assert text in out
