"""Builds a wheel of Horovod for the TensorFlow of this environment."""

import contextlib
import dataclasses
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping, Sequence

from launch import horovod_gpu, horovod_target, usage
from launch.progress import Progress, StepError

SDIST_SHA256 = (
    "92a43f5a94c43907a56805bad15f19700c62ffc83b7ca483f9e104e229f67ef0"
)
_CMAKE_LISTS = "horovod/tensorflow/CMakeLists.txt"
# Horovod's setup.py imports pkg_resources and packaging.
_BUILD_TOOLS = ("setuptools<80", "wheel", "packaging")
# 4.0 refuses the gloo that comes with Horovod, which asks for CMake 2.8.
_CMAKE_VERSIONS = ((3, 13), (4, 0))
_CMAKE_PACKAGE = "cmake>=3.18,<4"
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")
# pip has been seen to wait for a connection without end.
_FETCH_SECONDS = 240.0
_FETCH_ATTEMPTS = 3
# A compiler needs up to 1.5 GB for a file that includes TensorFlow's headers.
_BYTES_PER_JOB = 2 << 30
# These of the user's settings are for compilers; others would change what is
# built under the same name.
_KEPT_SETTINGS = ("HOROVOD_BUILD_CUDA_CC_LIST", "HOROVOD_BUILD_ARCH_FLAGS")


@dataclasses.dataclass(frozen=True)
class Build:
    """What is built, and where it is kept.

    Attributes:
        target: The environment it is for.
        gpu: What a build for GPUs uses.
        folder: Where the wheel is kept, under the target's name.
    """

    target: horovod_target.Target
    gpu: horovod_gpu.Gpu
    folder: pathlib.Path

    @property
    def log(self) -> pathlib.Path:
        """File that the programs write to."""
        return self.folder / "build.log"

    def wheel(self) -> pathlib.Path | None:
        """Returns the wheel, or None if it has not been built yet."""
        return next(iter(sorted(self.folder.glob("horovod-*.whl"))), None)


def check_tools() -> None:
    """Raises usage.UsageError if a program that is needed is not there."""
    missing = [name for name in ("g++", "make") if not shutil.which(name)]
    if missing:
        raise usage.UsageError(
            f"{' and '.join(missing)} cannot be found in PATH, but Horovod is "
            "compiled here. Install: apt-get install g++ make"
        )
    if not _has_pip():
        raise usage.UsageError(
            f"{sys.executable} has no pip. Install it: {sys.executable} -m "
            "ensurepip"
        )


def _has_pip() -> bool:
    answer = subprocess.run(
        [*PIP, "--version"], capture_output=True, check=False
    )
    return answer.returncode == 0


def build(job: Build, progress: Progress) -> pathlib.Path:
    """Builds the wheel and returns its path.

    Nothing but the finished wheel gets there.

    Raises:
        progress.StepError: A program has failed.
    """
    with tempfile.TemporaryDirectory(prefix="lockstep-horovod-") as name:
        scratch = pathlib.Path(name)
        tools = scratch / "tools"
        progress.step("getting the build tools")
        _install_tools(tools, progress)
        environment = _with_python_path(os.environ, tools)
        progress.step(f"getting Horovod {horovod_target.HOROVOD}")
        source = _download(scratch, environment, progress)
        lists = source / _CMAKE_LISTS
        lists.write_text(patch(lists.read_text()))
        progress.step("compiling; this takes minutes")
        made = _compile(job, source, scratch, environment, progress)
        kept = job.folder / made.name
        # Copied beside its place first: /tmp may be another file system.
        unfinished = kept.with_name(f".{made.name}.{os.getpid()}")
        try:
            shutil.copyfile(made, unfinished)
            unfinished.replace(kept)
        finally:
            unfinished.unlink(missing_ok=True)
    return kept


def _install_tools(tools: pathlib.Path, progress: Progress) -> None:
    """Installs what is needed for the build alone, out of the user's way."""
    packages = list(_BUILD_TOOLS)
    if not _cmake_fits(shutil.which("cmake")):
        packages.append(_CMAKE_PACKAGE)
    fetch(
        [*PIP, "install", "--target", str(tools), *packages],
        os.environ,
        progress,
    )


def fetch(
    command: Sequence[str], environment: Mapping[str, str], progress: Progress
) -> None:
    """Runs a program that downloads, again if need be.

    Raises:
        progress.StepError: It has failed each time.
    """
    for attempt in range(1, _FETCH_ATTEMPTS + 1):
        try:
            progress.run(command, environment, _FETCH_SECONDS)
            return
        except StepError:
            if attempt == _FETCH_ATTEMPTS:
                raise
            progress.step("that failed; once more")


def _cmake_fits(program: str | None) -> bool:
    if program is None:
        return False
    answer = subprocess.run(
        [program, "--version"], capture_output=True, text=True, check=False
    )
    found = re.search(r"version (\d+)\.(\d+)", answer.stdout)
    if found is None:
        return False
    low, high = _CMAKE_VERSIONS
    return low <= (int(found[1]), int(found[2])) < high


def _with_python_path(
    environment: Mapping[str, str], folder: pathlib.Path
) -> dict[str, str]:
    before = environment.get("PYTHONPATH")
    path = os.pathsep.join([str(folder), *([before] if before else [])])
    return {**environment, "PYTHONPATH": path}


def _download(
    scratch: pathlib.Path, environment: Mapping[str, str], progress: Progress
) -> pathlib.Path:
    """Returns the folder of the unpacked sources.

    pip runs setup.py of what it downloads, to learn its dependencies, but not
    before it has compared the checksum.
    """
    requirements = scratch / "requirements.txt"
    requirements.write_text(
        f"horovod=={horovod_target.HOROVOD} --hash=sha256:{SDIST_SHA256}\n"
    )
    fetch(
        [
            *(*PIP, "download", "--require-hashes", "--no-deps"),
            *("--no-binary=:all:", "--no-build-isolation"),
            *("--dest", str(scratch), "--requirement", str(requirements)),
        ],
        environment,
        progress,
    )
    (archive,) = scratch.glob("horovod-*.tar.gz")
    with tarfile.open(archive) as tar:
        # Python before 3.11.4 has no filters; the checksum is right anyway.
        with contextlib.suppress(AttributeError):
            tar.extraction_filter = tarfile.data_filter
        tar.extractall(scratch)
    return scratch / archive.name.removesuffix(".tar.gz")


def patch(lists: str) -> str:
    """Returns CMakeLists.txt without the line that names xla_mpi_ops.cc.

    That file includes headers that TensorFlow has stopped shipping. Its
    operations are off unless one asks for them.

    Raises:
        ValueError: There is not just one such line.
    """
    lines = lists.splitlines(keepends=True)
    kept = [line for line in lines if "xla_mpi_ops.cc" not in line]
    if len(kept) != len(lines) - 1:
        raise ValueError(
            f"{_CMAKE_LISTS} names xla_mpi_ops.cc in {len(lines) - len(kept)} "
            f"lines, not 1: this is not Horovod {horovod_target.HOROVOD}."
        )
    return "".join(kept)


def variables(job: Build, environment: Mapping[str, str]) -> dict[str, str]:
    """Returns the environment variables of the compilation."""
    kept = {
        name: value
        for name, value in environment.items()
        if not name.startswith("HOROVOD_") or name in _KEPT_SETTINGS
    }
    gpu = {"HOROVOD_WITHOUT_NVTX": "1"}
    if job.target.operations == "nccl":
        gpu = {"HOROVOD_GPU_OPERATIONS": "NCCL", **job.gpu.variables}
    return {
        "MAKEFLAGS": f"-j{_jobs()}",
        **kept,
        "HOROVOD_WITH_TENSORFLOW": "1",
        "HOROVOD_WITHOUT_PYTORCH": "1",
        "HOROVOD_WITHOUT_MXNET": "1",
        "HOROVOD_WITH_GLOO": "1",
        "HOROVOD_WITHOUT_MPI": "1",
        "TF_CPP_MIN_LOG_LEVEL": "2",
        **gpu,
    }


def _jobs() -> int:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    cores = len(os.sched_getaffinity(0))
    return max(1, min(cores, memory // _BYTES_PER_JOB))


def _compile(
    job: Build,
    source: pathlib.Path,
    scratch: pathlib.Path,
    environment: Mapping[str, str],
    progress: Progress,
) -> pathlib.Path:
    """Returns the path of the wheel."""
    settings = variables(job, environment)
    cmake = scratch / "tools" / "cmake" / "data" / "bin" / "cmake"
    if cmake.exists():
        settings["HOROVOD_CMAKE"] = str(cmake)
    progress.run(
        [
            *(*PIP, "wheel", "--verbose", "--no-index", "--no-deps"),
            *("--no-build-isolation", "--no-cache-dir"),
            *("--wheel-dir", str(scratch), str(source)),
        ],
        settings,
    )
    (wheel,) = scratch.glob("horovod-*.whl")
    return wheel
