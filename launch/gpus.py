"""Which GPUs of this host each of its processes gets."""

import itertools
import re
import shutil
import subprocess
from collections.abc import Mapping

from launch import usage

VISIBLE = "CUDA_VISIBLE_DEVICES"
# CUDA ignores what follows anything else, such as -1.
_NAME = re.compile(r"\d+|(GPU|MIG)-.+")
# Without its persistence daemon the driver takes seconds for each GPU.
_SECONDS = 120.0


def divide(workers: int, variables: Mapping[str, str]) -> list[dict[str, str]]:
    """Returns the variables that give each process as many GPUs.

    Where no GPU is visible there are none.

    Args:
        workers: How many processes, at least 1.
        variables: The environment, whose CUDA_VISIBLE_DEVICES is divided if it
            is there.

    Raises:
        UsageError: There is no equal part for each.
    """
    names = visible(variables)
    if not names:
        return [{}] * workers
    if len(names) % workers:
        raise usage.UsageError(
            f"--workers={workers} processes cannot have equal parts of the "
            f"{len(names)} GPU(s) that are visible ({','.join(names)}). Write "
            f"--workers={len(names)}, or set {VISIBLE}: to a list of GPUs that "
            "can be divided, or to -1 to use none."
        )
    each = len(names) // workers
    return [
        {VISIBLE: ",".join(names[i * each : (i + 1) * each])}
        for i in range(workers)
    ]


def visible(variables: Mapping[str, str]) -> list[str]:
    """Returns the names of the GPUs that a process with these variables sees.

    Args:
        variables: Its environment. Without CUDA_VISIBLE_DEVICES: all GPUs that
            nvidia-smi lists.
    """
    if VISIBLE not in variables:
        return _all()
    names = (name.strip() for name in variables[VISIBLE].split(","))
    return list(itertools.takewhile(_NAME.fullmatch, names))


def _all() -> list[str]:
    if shutil.which("nvidia-smi") is None:
        return []
    answer = subprocess.run(
        ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"],
        capture_output=True,
        text=True,
        check=False,
        timeout=_SECONDS,
    )
    return answer.stdout.split() if answer.returncode == 0 else []
