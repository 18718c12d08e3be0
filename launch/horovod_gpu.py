"""Whether Horovod can be built for GPUs here: CUDA's compiler and NCCL."""

import dataclasses
import os
import pathlib
import re
import shutil
import subprocess
from collections.abc import Mapping
from importlib import util

_CUDA_HOME = "/usr/local/cuda"
_SYSTEM_FOLDERS = ("/usr", "/usr/local")
_LIBRARY_FOLDERS = ("lib64", "lib", f"lib/{os.uname().machine}-linux-gnu")
_BUILD_INFO = "python/platform/build_info.py"


@dataclasses.dataclass(frozen=True)
class Gpu:
    """What a build for GPUs would use.

    Attributes:
        lacks: What is missing for it; empty if nothing is.
        variables: Environment variables of the build.
    """

    lacks: str
    variables: Mapping[str, str] = dataclasses.field(default_factory=dict)


def find(environment: Mapping[str, str]) -> Gpu:
    """Returns what there is.

    Args:
        environment: HOROVOD_CUDA_HOME, CUDA_HOME, PATH and HOROVOD_NCCL_HOME of
            it say where to look first.
    """
    home = _find_cuda(environment)
    if home is None:
        return Gpu(
            "there is no CUDA toolkit in HOROVOD_CUDA_HOME or beside nvcc"
        )
    nccl = _find_nccl(environment, home)
    if nccl is None:
        return Gpu(
            "there is no nccl.h with a libnccl.so in HOROVOD_NCCL_HOME, "
            f"{home}, {' or '.join(_SYSTEM_FOLDERS)}"
        )
    ours, theirs = _version_of_cuda(home), _cuda_of_tensorflow()
    if ours is None or ours != theirs:
        return Gpu(
            f"{home} is CUDA {ours}, but TensorFlow is built for CUDA "
            f"{theirs}; one process cannot hold both"
        )
    return Gpu("", {"HOROVOD_CUDA_HOME": home, "HOROVOD_NCCL_HOME": nccl})


def _find_cuda(environment: Mapping[str, str]) -> str | None:
    """Returns the folder of a CUDA toolkit with compiler and headers."""
    homes = [environment.get(n) for n in ("HOROVOD_CUDA_HOME", "CUDA_HOME")]
    compiler = shutil.which("nvcc", path=environment.get("PATH", ""))
    if compiler:
        homes.append(
            os.path.dirname(os.path.dirname(os.path.realpath(compiler)))
        )
    for home in filter(None, [*homes, _CUDA_HOME]):
        root = pathlib.Path(home)
        if (root / "include" / "cuda_runtime.h").exists() and shutil.which(
            "nvcc", path=str(root / "bin")
        ):
            return home
    return None


def _find_nccl(environment: Mapping[str, str], cuda: str) -> str | None:
    given = environment.get("HOROVOD_NCCL_HOME")
    for home in [given] if given else [cuda, *_SYSTEM_FOLDERS]:
        root = pathlib.Path(home)
        libraries = [root / f / "libnccl.so" for f in _LIBRARY_FOLDERS]
        header = root / "include" / "nccl.h"
        if header.exists() and any(file.exists() for file in libraries):
            return home
    return None


def _version_of_cuda(home: str) -> str | None:
    """Returns the major version of a CUDA toolkit."""
    answer = subprocess.run(
        [os.path.join(home, "bin", "nvcc"), "--version"],
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.search(r"release (\d+)", answer.stdout)
    return found[1] if found else None


def _cuda_of_tensorflow() -> str | None:
    """Returns the major version of CUDA that TensorFlow was built for.

    It is read from a file, as an import takes seconds.
    """
    spec = util.find_spec("tensorflow")
    for folder in (spec and spec.submodule_search_locations) or ():
        file = pathlib.Path(folder) / _BUILD_INFO
        if file.exists():
            found = re.search(r"'cuda_version', '(\d+)", file.read_text())
            return found[1] if found else None
    return None
