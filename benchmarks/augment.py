"""Measures RandAugment on the device against Pillow's on the host.

    python -m benchmarks.augment

Lockstep's as a CPU gets it (images one by one) and as a GPU or TPU gets it (all
at once), the plain way to batch it (every operation on every image, then
select), and Pillow in tf.data's threads and in a process a core. All take the
same real pictures from memory and draw the same number of the same operations.
They take turns within one run. Prints Markdown.
"""

from collections.abc import Sequence
from typing import Any

from absl import app, flags

from benchmarks import augment_contenders as contenders
from benchmarks import tables, turns
from input import policies

_SIZE = flags.DEFINE_integer(
    "size", 224, "Side of the pictures, in pixels.", lower_bound=8
)
_BATCH = flags.DEFINE_integer("batch", 32, "Pictures a step.", lower_bound=1)
_ROUNDS = flags.DEFINE_integer(
    "rounds", 5, "Times that each takes its turn.", lower_bound=1
)
_SECONDS = flags.DEFINE_float(
    "seconds", 3.0, "Length of a turn of Lockstep's.", lower_bound=0
)

_TITLES = {
    "lockstep": "Lockstep, images one by one (CPU)",
    "step": "the same inside a step compiled by XLA",
    "batched": "Lockstep, all at once (GPU, TPU), run on the CPU",
    "naive": "every operation on every image, then select",
    "threads": "Pillow, tf.data, a thread a core",
    "processes": "Pillow, a process a core",
}


def main(arguments: Sequence[str]) -> None:
    """Measures and prints."""
    if len(arguments) > 1:
        raise app.UsageError(f"{arguments[1]!r} is not a flag.")
    print(tables.conditions())
    pictures = contenders.photographs(_BATCH.value, _SIZE.value)
    # The processes come first: a fork must not copy TensorFlow's threads.
    crowd: dict[str, Any] = {"processes": contenders.Processes(pictures)}
    choices = policies.rand_augment_choices(
        contenders.MAGNITUDE, *pictures.shape[1:3]
    )
    crowd = {
        "lockstep": contenders.Device(pictures, contenders.lockstep()),
        "step": contenders.Device(
            pictures, contenders.lockstep(), jit_compile=True
        ),
        "batched": contenders.Device(pictures, contenders.batched(choices)),
        "naive": contenders.Device(pictures, contenders.naive(choices)),
        "threads": contenders.Threads(pictures),
        **crowd,
    }
    turns.warm_up(crowd, 1)
    steps = turns.steps_for(crowd["lockstep"], _SECONDS.value)
    seconds = turns.take(crowd, _ROUNDS.value, steps, "RandAugment")
    crowd["processes"].close()
    pairs = [("lockstep", name) for name in crowd if name != "lockstep"]
    print(
        f"\n{contenders.LAYERS} operations of magnitude "
        f"{contenders.MAGNITUDE}, {_BATCH.value} "
        f"pictures of {_SIZE.value} px; {_ROUNDS.value} rounds of {steps} "
        "steps.\n\n"
        + tables.speeds(seconds, _TITLES, _BATCH.value)
        + "\n\n"
        + tables.comparisons(
            seconds, _TITLES, [*pairs, ("batched", "naive")], {}
        )
    )


if __name__ == "__main__":
    app.run(main)
