"""Installs a wheel of Horovod and makes sure that it works."""

import hashlib
import json
import os
import pathlib
import sys
from importlib import metadata

from launch import horovod_build, horovod_target
from launch.progress import Progress

# Horovod's own, without TensorFlow.
_DEPENDENCIES = ("cloudpickle", "psutil", "pyyaml", "packaging")
_PROCESSES = 2
_CHECK_SECONDS = 600.0
_REPOSITORY = pathlib.Path(__file__).resolve().parents[1]


def is_for(target: horovod_target.Target) -> bool:
    """Returns whether a Horovod for the target's TensorFlow is installed.

    Whether it was built for GPUs is not known before it is imported.
    """
    try:
        found = metadata.distribution("horovod")
        # Written by Horovod's build.
        text = found.locate_file("horovod/metadata.json").read_text()
        built_for = json.loads(text).get("tensorflow")
    except (metadata.PackageNotFoundError, OSError, ValueError):
        return False
    return (
        found.version == horovod_target.HOROVOD
        and target.tensorflow.endswith(f"-{built_for}")
        and not missing_dependencies()
    )


def is_verified(job: horovod_build.Build) -> bool:
    """Returns whether just what is installed has passed `verify`."""
    try:
        return _stamp(job).read_text() == _fingerprint()
    except (OSError, metadata.PackageNotFoundError):
        return False


def _stamp(job: horovod_build.Build) -> pathlib.Path:
    environment = hashlib.sha256(sys.prefix.encode()).hexdigest()[:16]
    return job.folder / f"verified-{environment}"


def _fingerprint() -> str:
    """Returns a checksum of the checksums of all installed files."""
    record = metadata.distribution("horovod").read_text("RECORD") or ""
    return hashlib.sha256(record.encode()).hexdigest()


def missing_dependencies() -> list[str]:
    """Returns the packages that Horovod needs and that are not installed."""
    missing = []
    for name in _DEPENDENCIES:
        try:
            metadata.version(name)
        except metadata.PackageNotFoundError:
            missing.append(name)
    return missing


def install(wheel: pathlib.Path, progress: Progress) -> None:
    """Installs a wheel over whatever Horovod there is.

    Raises:
        progress.StepError: pip has failed.
    """
    if missing := missing_dependencies():
        progress.step(f"installing {', '.join(missing)}")
        horovod_build.fetch(
            [*horovod_build.PIP, "install", *missing], os.environ, progress
        )
    progress.step(f"installing {wheel}")
    # No index and no cache: pip keeps a wheel of its own for any TensorFlow.
    flags = ["--no-index", "--no-deps", "--no-cache-dir", "--force-reinstall"]
    progress.run(
        [*horovod_build.PIP, "install", *flags, str(wheel)], os.environ
    )


def verify(job: horovod_build.Build, progress: Progress) -> str:
    """Runs all-reduces in two processes and notes that they have worked.

    Returns:
        What the check says of the versions.

    Raises:
        progress.StepError: They have not.
    """
    progress.step(f"checking it by all-reduces in {_PROCESSES} processes")
    _stamp(job).unlink(missing_ok=True)
    said = _check(job, progress)
    _stamp(job).write_text(_fingerprint())
    return said


def _check(job: horovod_build.Build, progress: Progress) -> str:
    path = os.environ.get("PYTHONPATH")
    output = progress.run(
        [
            *(sys.executable, "-m", "launch.local", "--engine=horovod"),
            *(f"--workers={_PROCESSES}", "--grace=5", "--"),
            *(sys.executable, "-m", "launch.check_horovod"),
            *(["--nccl"] if job.target.operations == "nccl" else []),
        ],
        {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(
                [str(_REPOSITORY), *([path] if path else [])]
            ),
            "TF_CPP_MIN_LOG_LEVEL": "2",
        },
        _CHECK_SECONDS,
    )
    said = [line for line in output.splitlines() if " works in " in line]
    return said[-1].partition("] ")[2] if said else ""
