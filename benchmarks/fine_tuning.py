"""Measures what a training step costs where only a part of the network learns.

    python -m benchmarks.fine_tuning

Takes steps of a ResNet-18 with all of it learning, the last blocks, and the
head alone. The peer is `keras.Model.fit` without XLA, on the same network,
frozen in the same way, with the same optimizer. It gets one batch again and
again from memory; ours reads made-up images through its input pipeline. All
contenders take turns. Prints Markdown.
"""

from collections.abc import Sequence

from absl import app, flags

from benchmarks import cases, fine_tuning_contenders, tables
from trainer import bindings

_CASE = flags.DEFINE_enum(
    "case", "resnet18", list(cases.CASES), "Network and batch."
)
_STEPS = flags.DEFINE_integer(
    "steps", 5, "Steps of a contender in each round.", lower_bound=1
)
_ROUNDS = flags.DEFINE_integer(
    "rounds", 5, "Rounds to measure; medians are shown.", lower_bound=1
)


def main(arguments: Sequence[str]) -> None:
    """Measures and prints."""
    if len(arguments) > 1:
        raise app.UsageError(f"{arguments[1]!r} is not a flag.")
    bindings.register()
    case = cases.CASES[_CASE.value]
    print(tables.conditions())
    print(f"\n{case.title}.\n")
    seconds = fine_tuning_contenders.measure(
        case, fine_tuning_contenders.CHOICES, _STEPS.value, _ROUNDS.value
    )
    print(fine_tuning_contenders.describe(seconds, case.batch))


if __name__ == "__main__":
    app.run(main)
