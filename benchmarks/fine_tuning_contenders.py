"""The contenders of benchmarks.fine_tuning: ours, and `keras.Model.fit`."""

import statistics
import time
from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

from benchmarks import cases, tables
from models import freezing
from trainer import config, engine, session

CHOICES = ("all", "last 4 blocks", "last 1 block", "head")
_GIN = "benchmarks/step.gin"

TakeSteps = Callable[[int], object]


def measure(
    case: cases.Case, choices: Sequence[str], steps: int, rounds: int
) -> dict[str, tuple[list[float], list[float]]]:
    """Returns seconds of a step in each round, of ours and of Keras's.

    Args:
        case: Network and batch.
        choices: What learns, as `train.trainable` has it.
        steps: Of each contender in each round.
        rounds: At least 1; one before them is not counted.
    """
    contenders = {
        choice: (_ours(case, choice), _keras(case, choice))
        for choice in choices
    }
    found: dict[str, tuple[list[float], list[float]]] = {
        choice: ([], []) for choice in choices
    }
    for number in range(rounds + 1):
        for choice, pair in contenders.items():
            for times, take in zip(found[choice], pair, strict=True):
                began = time.monotonic()
                take(steps)
                if number:
                    times.append((time.monotonic() - began) / steps)
    return found


def _build(case: cases.Case, choice: str) -> session.Session:
    trainable = f"train.trainable = {choice!r}"
    config.parse([_GIN], [*case.gin_params, trainable])
    return session.build(config.call("train"), engine.OneDevice())


def _ours(case: cases.Case, choice: str) -> TakeSteps:
    return _build(case, choice).take_steps(0)


def _keras(case: cases.Case, choice: str) -> TakeSteps:
    """Returns `fit` on the same network, frozen in the same way."""
    parts = _build(case, choice)
    model = parts.state.model
    freezing.Freezing(model).apply(choice)
    model.compile(
        keras.optimizers.SGD(
            cases.LEARNING_RATE, momentum=cases.MOMENTUM, nesterov=True
        ),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=False,
    )
    shape = (case.batch, case.pixels, case.pixels, 3)
    images = tf.random.stateless_normal(shape, [0, 1])
    labels = tf.range(case.batch) % case.classes
    data = tf.data.Dataset.from_tensors((images, labels)).repeat()
    return lambda steps: model.fit(
        data, steps_per_epoch=steps, shuffle=False, verbose=0
    )


def describe(
    seconds: dict[str, tuple[list[float], list[float]]], batch: int
) -> str:
    """Returns a table of medians, each row beside the first."""
    whole = statistics.median(next(iter(seconds.values()))[0])
    rows = []
    for choice, (ours, theirs) in seconds.items():
        mine, peer = statistics.median(ours), statistics.median(theirs)
        ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
        rows.append(
            [
                f'`"{choice}"`',
                f"{1000 * mine:,.1f}",
                f"{batch / mine:,.1f}",
                f"{whole / mine:.2f}",
                f"{batch / peer:,.1f}",
                f"{statistics.median(ratios):.2f}",
                f"{min(ratios):.2f}..{max(ratios):.2f}",
            ]
        )
    header = [
        "train.trainable",
        "ms a step",
        "images/s",
        "times the first",
        "images/s of `fit`",
        "times `fit`",
        "min..max",
    ]
    return tables.markdown(header, rows)
