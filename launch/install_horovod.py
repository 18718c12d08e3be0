"""Builds Horovod for the TensorFlow of this environment and installs it.

python -m launch.install_horovod
python -m launch.install_horovod --print

Horovod 0.28.1 is compiled from its sources, which takes minutes, without MPI
and, where CUDA's compiler and NCCL are found, for GPUs. The wheel is kept for
the next environment with the same TensorFlow and Python. What is installed is
checked by all-reduces in two processes; where that was done before, nothing is
done. An installed Horovod 0.28.1 for the same TensorFlow that passes the check
is left as it is.

Needs g++ and make; CMake and other build tools are taken from PyPI into a
temporary folder where they are missing. Exit codes: 0 done; 2 a flag is wrong
or a tool is missing; 1 the build or the check has failed.
"""

import os
import pathlib
import signal
import sys
from collections.abc import Sequence

from absl import flags

from launch import (
    horovod_build,
    horovod_gpu,
    horovod_install,
    horovod_target,
    usage,
)
from launch.progress import Progress, StepError

_AUTO = "auto"


def main(arguments: Sequence[str]) -> int:
    """Installs Horovod as the flags say.

    Args:
        arguments: Name of the program and its flags.

    Returns:
        The exit code.
    """
    values = _define_flags()

    def install(rest: list[str]) -> int:
        if rest:
            raise usage.UsageError(
                f"{rest[0]!r} is not a flag. Write --NAME=VALUE; --help lists "
                "the flags."
            )
        job = _job(values)
        if values.print:
            print(_describe(job, values.force))
            return 0
        return _install(job, values.force)

    return usage.run(
        "launch.install_horovod", __doc__, values, install, arguments
    )


def _define_flags() -> flags.FlagValues:
    values = flags.FlagValues()
    flags.DEFINE_string(
        "wheel_dir",
        "~/.cache/lockstep/wheels",
        "Folder to keep wheels in, made if missing.",
        flag_values=values,
    )
    flags.DEFINE_bool(
        "force",
        False,
        "Build, install and check even if that was done before.",
        flag_values=values,
    )
    flags.DEFINE_enum(
        "operations",
        _AUTO,
        [_AUTO, *horovod_target.OPERATIONS],
        "What adds up tensors on GPUs: nccl; or cpu, which copies them to the "
        "CPU. auto: nccl where it can be built.",
        flag_values=values,
    )
    flags.DEFINE_bool(
        "print",
        False,
        "Show what would be done, and do nothing.",
        flag_values=values,
    )
    return values


def _job(values: flags.FlagValues) -> horovod_build.Build:
    if not values.wheel_dir:
        raise usage.UsageError(
            "--wheel_dir is empty. Name a folder, or leave it out."
        )
    gpu = horovod_gpu.find(os.environ)
    operations = values.operations
    if operations == "nccl" and gpu.lacks:
        raise usage.UsageError(
            f"--operations=nccl: {gpu.lacks}. Install what is missing, or "
            "leave --operations out to build for the CPU."
        )
    if operations == _AUTO:
        operations = "cpu" if gpu.lacks else "nccl"
    target = horovod_target.this_environment(operations)
    folder = pathlib.Path(values.wheel_dir).expanduser().absolute() / target.key
    return horovod_build.Build(target, gpu, folder)


def _describe(job: horovod_build.Build, force: bool) -> str:
    """Returns what would be done, for the screen."""
    wheel = job.wheel()
    return "\n".join(
        [
            f"Key:      {job.target.key}",
            f"Folder:   {job.folder}",
            f"Wheel:    {wheel.name if wheel else 'not built yet'}",
            f"GPUs:     {_gpus(job)}",
            "Steps:",
            *(f"  {text}" for text in _steps(job, force)),
        ]
    )


def _steps(job: horovod_build.Build, force: bool) -> list[str]:
    check = "check it by all-reduces in two processes"
    if not force and horovod_install.is_verified(job):
        return ["none: it is installed and was checked"]
    wheel = None if force else job.wheel()
    build = [
        "get setuptools, wheel and, if need be, CMake for the build alone",
        f"download horovod-{horovod_target.HOROVOD}.tar.gz, sha256 "
        f"{horovod_build.SDIST_SHA256}",
        "delete the line that names xla_mpi_ops.cc; compile; keep the wheel",
    ]
    steps = [
        *([f"take {wheel}"] if wheel else build),
        f"install it into {sys.prefix}",
        check,
    ]
    if not force and horovod_install.is_for(job.target):
        return ["take the Horovod that is installed", check, "or else", *steps]
    return steps


def _gpus(job: horovod_build.Build) -> str:
    if job.target.operations == "nccl":
        return "HOROVOD_GPU_OPERATIONS=NCCL"
    return f"none: {job.gpu.lacks or '--operations=cpu'}"


def _install(job: horovod_build.Build, force: bool) -> int:
    if not force and horovod_install.is_verified(job):
        print(f"{job.target.key} is installed and was checked before.")
        return 0
    try:
        progress = Progress(job.log)
    except OSError as error:
        raise usage.UsageError(
            f"--wheel_dir: {job.folder} cannot be written to: "
            f"{error.strerror}. Name a folder of yours."
        ) from error
    try:
        said = "" if force else _check_installed(job, progress)
        if not said:
            wheel = None if force else job.wheel()
            if wheel is None:
                horovod_build.check_tools()
                progress.step(f"GPUs: {_gpus(job)}")
                wheel = horovod_build.build(job, progress)
            horovod_install.install(wheel, progress)
            said = horovod_install.verify(job, progress)
    except StepError as error:
        print(f"launch.install_horovod: {error}", file=sys.stderr)
        return 1
    progress.step(said)
    return 0


def _check_installed(job: horovod_build.Build, progress: Progress) -> str:
    """Returns what the check says of the installed one, "" if it fails."""
    if not horovod_install.is_for(job.target):
        return ""
    try:
        return horovod_install.verify(job, progress)
    except StepError:
        progress.step("the installed Horovod does not pass; see the log")
        return ""


if __name__ == "__main__":
    # So that scratch folders are removed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    sys.exit(main(sys.argv))
