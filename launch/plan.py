r"""What a gin file would take on a cluster: time, efficiency, speed.

    python -m launch.plan --gin_file=gin/imagenet_resnet50.gin \
      --gin_param='SOURCE=@synthetic()' --accelerators=8,64,1024 \
      --per_host=8 --network_gbps=25,100,400 --tflops=312 --utilisation=0.2

Reads the numbers of the training from `trainer.main --dry_run`, which builds it
on this machine, and puts them into the model of launch/ring.py. Prints
Markdown, one table for each speed of the network. These are predictions;
docs/scaling.md says how far they have been checked. Exit codes: 0 done; 2 bad
flag, config or cluster; 3 bad data.
"""

import math
import sys
from collections.abc import Callable, Sequence
from typing import Any, cast

from absl import flags

from launch import dry_run, forecast, ring, usage

_FLAGS = flags.FlagValues()
_GIN_FILE = flags.DEFINE_multi_string(
    "gin_file",
    None,
    "As for trainer.main. May be repeated.",
    flag_values=_FLAGS,
)
_GIN_PARAM = flags.DEFINE_multi_string(
    "gin_param",
    [],
    "As for trainer.main. May be repeated.",
    flag_values=_FLAGS,
)
_ACCELERATORS = flags.DEFINE_list(
    "accelerators",
    None,
    "How many accelerators to plan for, such as 8,64,1024. Those beyond "
    "--per_host fill whole hosts.",
    flag_values=_FLAGS,
)
_ROWS = flags.DEFINE_integer(
    "rows_per_accelerator",
    None,
    "Images in a step on one accelerator, at least 1; the same for any number "
    "of them. By default the gin file's global batch divided by the smallest "
    "of --accelerators.",
    lower_bound=1,
    flag_values=_FLAGS,
)
_PER_HOST = flags.DEFINE_integer(
    "per_host",
    8,
    "Accelerators in a host.",
    lower_bound=1,
    flag_values=_FLAGS,
)
_NETWORK = flags.DEFINE_list(
    "network_gbps",
    None,
    "Speed of a host's network, Gbit/s in one direction; the accelerators of "
    "the host share it. Several, such as 25,100, give one table each.",
    flag_values=_FLAGS,
)
_INTERCONNECT = flags.DEFINE_float(
    "interconnect_gbps",
    2400.0,
    "Speed between the accelerators of a host, Gbit/s in one direction. The "
    "default is that of an A100's NVLink, 600 GB/s in both; PCIe 4.0 with 16 "
    "lanes has about 250.",
    flag_values=_FLAGS,
)
_LATENCY = flags.DEFINE_float(
    "latency_us",
    10.0,
    "Time of an empty message between two hosts, microseconds. Inside a host "
    "a tenth of it is assumed.",
    flag_values=_FLAGS,
)
_SECONDS_PER_STEP = flags.DEFINE_float(
    "seconds_per_step",
    None,
    "Time of a step on one accelerator, as you have measured it with these "
    "rows. This or --tflops.",
    flag_values=_FLAGS,
)
_TFLOPS = flags.DEFINE_float(
    "tflops",
    None,
    "Peak speed of an accelerator in the recipe's precision, 1e12 floating-"
    "point operations a second. This or --seconds_per_step.",
    flag_values=_FLAGS,
)
_UTILISATION = flags.DEFINE_float(
    "utilisation",
    0.4,
    "Share of --tflops that the network's layers reach, in (0, 1]. ResNet-50 "
    "by published speeds: 0.14 to 0.25 on tensor cores, 0.5 to 0.65 without.",
    flag_values=_FLAGS,
)
_COMPRESSION = flags.DEFINE_enum(
    "compression",
    None,
    list(ring.COMPRESSIONS),
    "Number format of gradients on the wire; by default that of the gin file, "
    "train.gradient_compression.",
    flag_values=_FLAGS,
)
_OVERLAP = flags.DEFINE_float(
    "overlap",
    0.0,
    "Share of the backward pass that the all-reduce runs beside, in [0, 1]. "
    "0 for Lockstep's engines, which make one grouped call after it; 1 is the "
    "bound for frameworks that send gradients as they come.",
    flag_values=_FLAGS,
)

_GIGABIT_BYTES = 1e9 / 8
_LOCAL_LATENCY = 0.1


def _numbers(
    flag: flags.FlagHolder[list[str] | None], kind: Callable[[str], Any]
) -> list[Any]:
    """Returns the numbers of a list flag, all above 0."""
    try:
        found = [kind(text) for text in flag.value or []]
    except ValueError:
        found = []
    if not found or not all(0 < number < math.inf for number in found):
        raise usage.UsageError(
            f"--{flag.name}={','.join(flag.value or [])} must be "
            f"{'whole ' if kind is int else ''}numbers above 0, separated by "
            f"commas, such as --{flag.name}=8,64."
        )
    return found


def _gin_files() -> list[str]:
    if not _GIN_FILE.value:
        raise usage.UsageError(
            "--gin_file is missing. Name a recipe, such as "
            "--gin_file=gin/digits.gin."
        )
    return _GIN_FILE.value


def _speed() -> float | forecast.Peak:
    """Returns the speed of one accelerator as the flags give it."""
    seconds, tflops = _SECONDS_PER_STEP.value, _TFLOPS.value
    if seconds is not None and tflops is None:
        return seconds
    if tflops is not None and seconds is None:
        return forecast.Peak(tflops, _UTILISATION.value)
    raise usage.UsageError(
        "Give the speed of an accelerator either as --seconds_per_step, "
        "measured, or as --tflops with --utilisation."
    )


def _check_ranges() -> None:
    """Raises usage.UsageError for a number out of its range."""
    for flag in (_SECONDS_PER_STEP, _TFLOPS, _UTILISATION, _INTERCONNECT):
        if flag.value is not None and not 0 < flag.value < math.inf:
            raise usage.UsageError(
                f"--{flag.name}={flag.value:g} must be above 0 and finite."
            )
    for flag, most in ((_UTILISATION, 1), (_OVERLAP, 1), (_LATENCY, 1e6)):
        if not 0 <= flag.value <= most:
            raise usage.UsageError(
                f"--{flag.name}={flag.value:g} must be from 0 to {most:g}."
            )


def _clusters() -> dict[float, ring.Cluster]:
    """Returns the clusters to plan for, by the speed of their network."""
    latency = _LATENCY.value / 1e6
    local = ring.Link(
        latency * _LOCAL_LATENCY, _INTERCONNECT.value * _GIGABIT_BYTES
    )
    return {
        speed: ring.Cluster(
            per_host=_PER_HOST.value,
            network=ring.Link(latency, speed * _GIGABIT_BYTES),
            interconnect=local,
        )
        for speed in _numbers(_NETWORK, float)
    }


def main(arguments: Sequence[str]) -> int:
    """Prints the plan; returns the exit code."""
    try:
        return usage.run("launch.plan", __doc__ or "", _FLAGS, _main, arguments)
    except dry_run.RecipeError as error:
        print(f"launch.plan: {error}", file=sys.stderr)
        return error.code


def _main(rest: list[str]) -> int:
    if rest:
        raise usage.UsageError(f"{rest[0]!r} is not a flag. See --help.")
    gin_files, speed = _gin_files(), _speed()
    _check_ranges()
    accelerators, clusters = _numbers(_ACCELERATORS, int), _clusters()
    for count in accelerators:
        try:
            next(iter(clusters.values())).hosts(count)
        except ValueError as error:
            raise usage.UsageError(f"--accelerators: {error}") from error
    training = forecast.make_training(
        dry_run.read_facts(gin_files, _GIN_PARAM.value),
        fewest=min(accelerators),
        rows=_ROWS.value,
        speed=speed,
        compression=cast(ring.Compression | None, _COMPRESSION.value),
        overlap=_OVERLAP.value,
    )
    print(forecast.describe(training))
    for speed, cluster in clusters.items():
        print(f"\n### {speed:g} Gbit/s a host\n")
        print(forecast.describe_cluster(cluster) + "\n")
        print(forecast.table(training, accelerators, cluster))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
