r"""Runs a command as one process of a cluster's job.

srun --ntasks=4 python -m launch.task --engine=multi_worker -- \
  python -m trainer.main --gin_file=F --model_dir=D \
  --gin_param='make_engine.name="multi_worker"'

The scheduler runs it once for each process. From the scheduler's variables it
finds the addresses of all and which of them it is, sets the variables of the
engine, and lets the command take its place: signals reach the command, and its
exit code is the task's. For Horovod, the first process has the rendezvous
server beside it.

Read from the first of these that is there:

  LOCKSTEP_WORKERS (host:port,host:port) and LOCKSTEP_INDEX
  SLURM_PROCID and the others that srun sets
  LOCKSTEP_HOSTS (run-[0-3].run) and JOB_COMPLETION_INDEX, as in the pods that
  launch/kubernetes.sh makes

Exit codes: 2 wrong flags or variables; otherwise the command's.
"""

import itertools
import os
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence

from absl import flags

from launch import (
    companion,
    environment,
    interface,
    placement,
    rendezvous,
    usage,
)

ENGINES = ("multi_worker", "horovod")
_DEVICES = "CUDA_VISIBLE_DEVICES"


def main(arguments: Sequence[str]) -> int:
    """Becomes the command of the arguments, with the variables of its place.

    Args:
        arguments: Name of the program, flags, and the command after `--`.

    Returns:
        The exit code, if the command was not run.
    """
    values = _define_flags()

    def launch(command: list[str]) -> int:
        return _launch(values, command)

    return usage.run("launch.task", __doc__ or "", values, launch, arguments)


def _define_flags() -> flags.FlagValues:
    values = flags.FlagValues()
    flags.DEFINE_enum(
        "engine",
        None,
        ENGINES,
        "How the processes find each other: by TensorFlow's own collectives or "
        "by Horovod. The training's make_engine.name must be the same. "
        "Required.",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "port",
        0,
        "First port; the processes of a host count up from it. 0: by the "
        f"number of the job under Slurm, elsewhere {placement.DEFAULT_PORT}.",
        lower_bound=0,
        upper_bound=65535,
        flag_values=values,
    )
    flags.DEFINE_string(
        "interface",
        None,
        "Horovod's network interface, such as ib0. Default: lo if there is "
        "one host, otherwise that of the default route.",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "gpus_per_task",
        0,
        f"How many of the host's GPUs each process sees, by {_DEVICES}. 0: as "
        "the scheduler has it.",
        lower_bound=0,
        flag_values=values,
    )
    flags.DEFINE_bool(
        "print",
        False,
        "Show the variables and the command, and run nothing.",
        flag_values=values,
    )
    return values


def _launch(values: flags.FlagValues, command: list[str]) -> int:
    if values.engine is None:
        raise usage.UsageError(
            "--engine is missing. Write --engine=multi_worker or "
            "--engine=horovod."
        )
    if not command:
        raise usage.UsageError(
            "there is no command. Write it after the flags: -- python -m "
            "trainer.main ..."
        )
    try:
        place = placement.find(os.environ, values.port)
        variables = _variables(values, place)
    except ValueError as error:
        raise usage.UsageError(error) from error
    if values["print"].value:
        for name, value in variables.items():
            print(f"export {name}={shlex.quote(value)}")
        print(shlex.join(command))
        return 0
    if shutil.which(command[0]) is None:
        raise usage.UsageError(
            f"{command[0]!r} is no program that can be run here: there is no "
            "such executable file, in PATH or by that name. Check its name."
        )
    if values.engine == "horovod":
        _prepare_horovod(place)
    os.execvpe(
        command[0],
        command,
        environment.without_places(os.environ) | variables,
    )


def _variables(
    values: flags.FlagValues, place: placement.Placement
) -> dict[str, str]:
    """Returns what to add to the environment of the command."""
    if values.engine == "horovod":
        variables = _horovod(place, values.interface)
    else:
        variables = environment.multi_worker(place.addresses, place.index)
    if values.gpus_per_task:
        variables[_DEVICES] = devices(
            os.environ, place.local_rank, values.gpus_per_task
        )
    return variables


def _horovod(
    place: placement.Placement, interface_name: str | None
) -> dict[str, str]:
    if place.local_size == place.size:
        # The name of this host may lead to an address that lo does not have.
        host, default = "127.0.0.1", "lo"
    else:
        host, default = place.hosts[0], ""
    port = int(place.addresses[0].rpartition(":")[2])
    return environment.horovod(
        rank=place.index,
        size=place.size,
        local_rank=place.local_rank,
        local_size=place.local_size,
        cross_rank=place.cross_rank,
        cross_size=place.cross_size,
        hostname=place.hosts[place.index],
        rendezvous_host=host,
        rendezvous_port=port,
        interface=interface_name or default or interface.of_default_route(),
    )


def devices(variables: Mapping[str, str], local_rank: int, number: int) -> str:
    """Returns the CUDA_VISIBLE_DEVICES of one process of a host.

    Args:
        variables: The environment, whose CUDA_VISIBLE_DEVICES is divided if it
            is there.
        local_rank: Which process of the host.
        number: GPUs of each process.

    Raises:
        ValueError: There are not enough.
    """
    first = local_rank * number
    wanted = range(first, first + number)
    if _DEVICES not in variables:
        return ",".join(map(str, wanted))
    there = [name for name in variables[_DEVICES].split(",") if name]
    if wanted.stop > len(there):
        raise ValueError(
            f"--gpus_per_task={number} needs {wanted.stop} GPUs for "
            f"{local_rank + 1} processes, but {_DEVICES}="
            f"{variables[_DEVICES]} has {len(there)}. Start fewer processes "
            "on this host."
        )
    return ",".join(there[i] for i in wanted)


def _prepare_horovod(place: placement.Placement) -> None:
    """Starts the first process's server, which ends with this process."""
    try:
        if place.local_size < place.size:
            interface.check_own_name()
    except ValueError as error:
        raise usage.UsageError(f"--engine=horovod: {error}") from error
    if place.index > 0:
        return
    blocks = itertools.groupby(place.hosts)
    counts = [(host, len(list(ranks))) for host, ranks in blocks]
    port = int(place.addresses[0].rpartition(":")[2])
    try:
        companion.start(rendezvous.serve(counts, port=port))
    except RuntimeError as error:
        raise usage.UsageError(
            f"--engine=horovod: the rendezvous server cannot run on port "
            f"{port}: {error}"
        ) from error


if __name__ == "__main__":
    sys.exit(main(sys.argv))
