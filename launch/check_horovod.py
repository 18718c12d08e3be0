"""Checks Horovod by all-reduces; run it in several processes.

python -m launch.local --workers=2 --engine=horovod -- \
  python -m launch.check_horovod

Adds up float32 and int32, one tensor and a group, outside and inside of
tf.function, and broadcasts; on GPUs where Horovod was built for them and each
process can have one. `--nccl` demands that it was. Exit codes: 0 all sums are
right; 1 one is wrong, or Horovod cannot be imported.
"""

import platform
import sys
from collections.abc import Callable
from typing import Any

import tensorflow as tf


def main() -> int:
    """Checks, says with which versions, and returns the exit code."""
    import horovod
    import horovod.tensorflow as hvd

    hvd.init()
    if "--nccl" in sys.argv and not hvd.nccl_built():
        print("Horovod was built without NCCL.", file=sys.stderr)
        return 1
    device = _choose_device(hvd)
    wrong = [name for name, right in _checks(hvd).items() if not right()]
    if wrong:
        print(f"Horovod gives wrong sums: {', '.join(wrong)}.", file=sys.stderr)
        return 1
    if hvd.rank() == 0:
        print(
            f"Horovod {horovod.__version__} works in {hvd.size()} processes on "
            f"{device}s, with TensorFlow {tf.__version__} and Python "
            f"{platform.python_version()}."
        )
    hvd.shutdown()
    return 0


def _choose_device(hvd: Any) -> str:
    gpus = tf.config.list_physical_devices("GPU")
    if hvd.nccl_built() and len(gpus) >= hvd.local_size():
        tf.config.set_visible_devices(gpus[hvd.local_rank()], "GPU")
        return "GPU"
    tf.config.set_visible_devices([], "GPU")
    return "CPU"


def _checks(hvd: Any) -> dict[str, Callable[[], bool]]:
    """Returns what to check, by name."""
    total = sum(range(1, hvd.size() + 1))
    mine = hvd.rank() + 1

    def one(dtype: tf.DType) -> Callable[[], bool]:
        def reduce() -> Any:
            value = tf.fill([1000], tf.cast(mine, dtype))
            return hvd.allreduce(value, op=hvd.Sum, name=f"one/{dtype.name}")

        return lambda: (
            _is(reduce(), total) and _is(tf.function(reduce)(), total)
        )

    def group() -> Any:
        values = [tf.fill([n], tf.cast(n * mine, tf.float32)) for n in (1, 9)]
        return hvd.grouped_allreduce(values, op=hvd.Sum, name="group")

    def group_is_right() -> bool:
        return all(
            _is(value, n * total)
            for values in (group(), tf.function(group)())
            for n, value in zip((1, 9), values, strict=True)
        )

    return {
        "all-reduce of float32": one(tf.float32),
        "all-reduce of int32": one(tf.int32),
        "grouped all-reduce": group_is_right,
        "broadcast": lambda: _is(hvd.broadcast(tf.constant([mine]), 0), 1),
    }


def _is(value: Any, expected: int) -> bool:
    return bool((value.numpy() == expected).all())


if __name__ == "__main__":
    sys.exit(main())
