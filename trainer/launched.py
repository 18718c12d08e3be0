"""What launchers say in the environment about the processes they start."""

from collections.abc import Mapping

from trainer import cluster, errors

# Where launchers of Horovod and MPI, and `srun`, say how many processes run.
# SLURM_NTASKS is of no use here: a batch script, which is one process, has it.
_SIZES = (
    "HOROVOD_SIZE",
    "OMPI_COMM_WORLD_SIZE",
    "PMI_SIZE",
    "SLURM_STEP_NUM_TASKS",
)


def number(environment: Mapping[str, str], name: str, default: int) -> int:
    """Returns the number in a variable; `default` where it is unset or empty.

    Raises:
        errors.ConfigError: It is not a whole number, 0 or more.
    """
    text = environment.get(name) or str(default)
    if not text.isdecimal():
        raise errors.ConfigError(
            f"{name}={text!r} in the environment must be a whole number, 0 or "
            "more. Let a launcher set it, or unset it."
        )
    return int(text)


def processes(environment: Mapping[str, str]) -> tuple[str, int]:
    """Returns the variable that counts most processes, and its count.

    Raises:
        errors.ConfigError: A variable is not what it must be.
    """
    counts = {name: number(environment, name, 1) for name in _SIZES}
    variable = cluster.variable(environment)
    if variable is not None:
        counts[variable] = cluster.size(environment)
    most = max(counts, key=lambda name: counts[name])
    return most, counts[most]
