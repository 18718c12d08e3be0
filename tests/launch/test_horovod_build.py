"""What is compiled, and how; `make test` has compiled it before."""

import os
import pathlib
import re
import tarfile

import pytest

from launch import horovod_build, horovod_gpu, horovod_target, progress, usage

TARGET = horovod_target.Target(
    "tensorflow-2.21.0", "cpython-311", "linux-x86_64", "cpu"
)
LISTS = """\
list(APPEND TF_SOURCES "${ROOT}/horovod/tensorflow/mpi_ops.cc")
list(APPEND TF_SOURCES "${ROOT}/horovod/tensorflow/xla_mpi_ops.cc")

set_output_dir()
"""


def make_build(
    folder: pathlib.Path, operations: str = "cpu"
) -> horovod_build.Build:
    target = horovod_target.Target(
        TARGET.tensorflow, TARGET.python, TARGET.platform, operations
    )
    gpu = horovod_gpu.Gpu(
        "", {"HOROVOD_CUDA_HOME": "/cuda", "HOROVOD_NCCL_HOME": "/nccl"}
    )
    return horovod_build.Build(target, gpu, folder)


def test_the_file_that_does_not_compile_is_left_out() -> None:
    patched = horovod_build.patch(LISTS)
    assert patched.splitlines() == [
        line for line in LISTS.splitlines() if "xla" not in line
    ]


@pytest.mark.parametrize("text", ["", "set_output_dir()\n", LISTS + LISTS])
def test_another_horovod_is_not_patched(text: str) -> None:
    with pytest.raises(ValueError, match=r"lines, not 1.*not Horovod 0\.28\.1"):
        horovod_build.patch(text)


def test_variables(tmp_path: pathlib.Path) -> None:
    outer = {
        "PATH": "/bin",
        "HOROVOD_WITH_MPI": "1",
        "HOROVOD_GPU_OPERATIONS": "MPI",
        "HOROVOD_BUILD_CUDA_CC_LIST": "80",
    }
    found = horovod_build.variables(make_build(tmp_path), outer)
    assert re.fullmatch(r"-j[1-9]\d*", found.pop("MAKEFLAGS"))
    assert found == {
        "PATH": "/bin",
        "HOROVOD_BUILD_CUDA_CC_LIST": "80",
        "HOROVOD_WITH_TENSORFLOW": "1",
        "HOROVOD_WITHOUT_PYTORCH": "1",
        "HOROVOD_WITHOUT_MXNET": "1",
        "HOROVOD_WITH_GLOO": "1",
        "HOROVOD_WITHOUT_MPI": "1",
        "HOROVOD_WITHOUT_NVTX": "1",
        "TF_CPP_MIN_LOG_LEVEL": "2",
    }


def test_variables_of_a_build_for_gpus(tmp_path: pathlib.Path) -> None:
    build = make_build(tmp_path, "nccl")
    found = horovod_build.variables(build, {"MAKEFLAGS": "-j3"})
    assert found["HOROVOD_GPU_OPERATIONS"] == "NCCL"
    assert found["HOROVOD_CUDA_HOME"] == "/cuda"
    assert found["HOROVOD_NCCL_HOME"] == "/nccl"
    assert found["MAKEFLAGS"] == "-j3"


def test_missing_tools(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(
        usage.UsageError, match="g.. and make cannot be found.*apt-get install"
    ):
        horovod_build.check_tools()


@pytest.mark.parametrize(
    ("version", "from_pypi"),
    [
        ("cmake version 3.12.4", True),
        ("cmake version 3.13.0", False),
        ("cmake version 3.31.6-g4", False),
        ("cmake version 4.0.0", True),
        ("nonsense", True),
        (None, True),
    ],
)
def test_a_cmake_that_fits(
    version: str | None, from_pypi: bool, tmp_path, monkeypatch
) -> None:
    if version:
        program = tmp_path / "cmake"
        program.write_text(f"#!/bin/sh\necho '{version}'\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    calls = FakeProgress()
    horovod_build._install_tools(tmp_path / "tools", calls)
    ((command, _),) = calls.commands
    assert ("cmake>=3.18,<4" in command) == from_pypi
    assert "setuptools<80" in command


class FakeProgress:
    """Notes commands in place of running them; pip makes its files."""

    def __init__(self, fail: str = "", times: int = 99) -> None:
        self.fail = fail
        self.times = times
        self.commands: list[tuple[list[str], dict[str, str]]] = []

    def step(self, text: str) -> None:
        pass

    def run(self, command, environment, timeout=0.0) -> str:
        self.commands.append((command, dict(environment)))
        if self.fail and self.fail in command and self.times:
            self.times -= 1
            raise progress.StepError("no")
        if "download" in command:
            make_sdist(pathlib.Path(command[command.index("--dest") + 1]))
        if "wheel" in command and "install" not in command:
            folder = pathlib.Path(command[command.index("--wheel-dir") + 1])
            (folder / "horovod-0.28.1-cp311.whl").write_bytes(b"wheel")
        return ""


def make_sdist(folder: pathlib.Path) -> None:
    lists = folder / "horovod-0.28.1" / "horovod" / "tensorflow"
    lists.mkdir(parents=True)
    (lists / "CMakeLists.txt").write_text(LISTS)
    with tarfile.open(folder / "horovod-0.28.1.tar.gz", "w:gz") as tar:
        tar.add(folder / "horovod-0.28.1", "horovod-0.28.1")


def test_a_build_step_by_step(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/before")
    calls = FakeProgress()
    build = make_build(tmp_path)
    assert build.wheel() is None
    wheel = horovod_build.build(build, calls)
    assert wheel == build.wheel() == tmp_path / "horovod-0.28.1-cp311.whl"
    assert wheel.read_bytes() == b"wheel"
    assert list(tmp_path.iterdir()) == [wheel]

    tools, download, compile_ = calls.commands
    (folder,) = [word for word in tools[0] if word.endswith("/tools")]
    assert "--require-hashes" in download[0]
    # Never a wheel that pip has kept, or finds somewhere.
    assert {"--no-cache-dir", "--no-index", "--no-deps"} <= set(compile_[0])
    for command, environment in (download, compile_):
        assert "--no-build-isolation" in command
        assert environment["PYTHONPATH"] == f"{folder}{os.pathsep}/before"
    assert not pathlib.Path(folder).parent.exists()


@pytest.mark.parametrize("step", ["install", "download", "wheel"])
def test_nothing_is_kept_of_a_build_that_fails(step: str, tmp_path) -> None:
    with pytest.raises(progress.StepError):
        horovod_build.build(make_build(tmp_path), FakeProgress(step))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("step", ["install", "download"])
def test_a_download_gets_three_chances(step: str, tmp_path) -> None:
    calls = FakeProgress(step, times=2)
    assert horovod_build.build(make_build(tmp_path), calls).exists()
    assert sum(step in command for command, _ in calls.commands) == 3
