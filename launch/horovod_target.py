"""What a build of Horovod depends on, and the name it is kept under."""

import dataclasses
import sys
import sysconfig
from importlib import metadata

from launch import usage

HOROVOD = "0.28.1"
# To be raised when launch/horovod_build.py builds something else.
RECIPE = 1
OPERATIONS = ("cpu", "nccl")
_TENSORFLOWS = (
    "tensorflow",
    "tensorflow-cpu",
    "tensorflow-tpu",
    "tf-nightly",
    "tf-nightly-cpu",
)


@dataclasses.dataclass(frozen=True)
class Target:
    """An environment that Horovod is built for.

    Attributes:
        tensorflow: Distribution and version, such as "tensorflow-2.21.0".
        python: Such as "cpython-311".
        platform: Such as "linux-x86_64".
        operations: One of OPERATIONS: what all-reduces tensors on GPUs.
    """

    tensorflow: str
    python: str
    platform: str
    operations: str

    @property
    def key(self) -> str:
        """Name of the folder that the wheel is kept in."""
        return (
            f"horovod-{HOROVOD}-{RECIPE}-{self.tensorflow}-{self.python}-"
            f"{self.platform}-{self.operations}"
        )


def this_environment(operations: str) -> Target:
    """Returns the target of the Python that runs this.

    Args:
        operations: One of OPERATIONS.

    Raises:
        usage.UsageError: TensorFlow is not installed.
    """
    return Target(
        tensorflow=_find_tensorflow(),
        python=sys.implementation.cache_tag,
        platform=sysconfig.get_platform(),
        operations=operations,
    )


def _find_tensorflow() -> str:
    for name in _TENSORFLOWS:
        try:
            return f"{name}-{metadata.version(name)}"
        except metadata.PackageNotFoundError:
            continue
    raise usage.UsageError(
        f"TensorFlow is not installed in {sys.prefix}; Horovod is built for "
        "one version of it. Install Lockstep there first, or call this with "
        "another Python."
    )
