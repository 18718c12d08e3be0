"""The loop: some steps in one graph call, then whatever is due."""

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import tensorflow as tf

from trainer import engine, state, statistics, step

_SUMS = ("loss", "correct", "examples", "skipped")
_LATEST = ("gradient_norm", "learning_rate", "skipped_in_a_row")


@dataclasses.dataclass(frozen=True)
class Progress:
    """What a stretch of training gave.

    Attributes:
        step: Steps taken since the beginning of the run.
        steps: Steps in this stretch.
        loss: Mean over the examples of the stretch.
        top_1_accuracy: Share of its examples classified right, in [0, 1]; of
            multi-label data in all of their classes.
        examples: Examples in the stretch, over all hosts.
        skipped: Steps whose gradients were not finite.
        skipped_in_a_row: How many of them the last step ends; they may have
            begun in earlier stretches.
        gradient_norm: Of the last step, before clipping.
        learning_rate: Of the last step.
        seconds: Time the stretch took.
        input_wait_seconds: Part of it spent waiting for the input pipeline.
    """

    step: int
    steps: int
    loss: float
    top_1_accuracy: float
    examples: float
    skipped: float
    skipped_in_a_row: float
    gradient_norm: float
    learning_rate: float
    seconds: float
    input_wait_seconds: float


TakeSteps = Callable[[int], dict[str, float]]
Clock = Callable[[], tf.Tensor]
Action = Callable[[Progress], None]
Trigger = Callable[[int], bool]


class StopTraining(Exception):  # noqa: N818 - a decision, not an error
    """Raised by an action to end training in good order."""


def compile_steps(
    on: engine.Engine,
    train: state.TrainState,
    train_step: step.TrainStep,
    batches: Iterator[Any],
    clock: Clock = tf.timestamp,
) -> TakeSteps:
    """Returns a function that takes a number of steps in one graph call.

    Args:
        on: Runs the step.
        train: Updated by it.
        train_step: The step.
        batches: Iterates over what `engine.distribute` returned.
        clock: Gives the time in seconds, float64, when it runs in a graph.
    """

    # AutoGraph is for the loop below alone.
    @tf.autograph.experimental.do_not_convert
    def take_step(batch: Any) -> dict[str, tf.Tensor]:
        return on.first(on.run(lambda rows: train_step(train, rows), batch))

    @tf.autograph.experimental.do_not_convert
    def finish() -> None:
        on.run(lambda: statistics.average(on, train, train_step.synchronises))

    @tf.function
    def take_steps(steps: tf.Tensor) -> dict[str, tf.Tensor]:
        values = dict.fromkeys([*_SUMS, *_LATEST], tf.constant(0.0))
        waited = tf.constant(0.0, tf.float64)
        for _ in tf.range(steps):
            batch, wait = _timed_next(on, batches, clock)
            result = take_step(batch)
            values = {k: values[k] + result[k] for k in _SUMS} | {
                k: result[k] for k in _LATEST
            }
            waited += wait
        finish()
        return values | {"waited": waited}

    return lambda steps: {
        name: float(value)
        for name, value in take_steps(tf.constant(steps)).items()
    }


@tf.autograph.experimental.do_not_convert
def _timed_next(
    on: engine.Engine, batches: Iterator[Any], clock: Clock
) -> tuple[Any, tf.Tensor]:
    """Returns the next batch and the seconds it was waited for."""
    start = clock()
    with tf.control_dependencies([start]):
        batch = next(batches)
    arrived = [
        tensor
        for value in tf.nest.flatten(batch)
        for tensor in on.local_results(value)
    ]
    with tf.control_dependencies(arrived):
        return batch, clock() - start


def python_clock() -> tf.Tensor:
    """Returns the time like `tf.timestamp`, which determinism forbids."""
    now = tf.numpy_function(time.monotonic, [], tf.float64)
    return tf.ensure_shape(now, [])


def run(
    take_steps: TakeSteps,
    actions: Sequence[tuple[Trigger, Action]],
    *,
    start_step: int,
    total_steps: int,
    steps_per_loop: int,
) -> int:
    """Trains, and acts in between.

    In words::

        while step < total_steps:
            take up to steps_per_loop steps, but not past a step at which an
                action is due
            for each (trigger, action), in order:
                if the trigger says so, call the action

    Args:
        take_steps: Of `compile_steps`.
        actions: Pairs of when and what. An action is called with what the last
            stretch gave; it may raise `StopTraining`.
        start_step: Steps already taken.
        total_steps: Steps after which training ends.
        steps_per_loop: Most steps in one graph call, at least 1.

    Returns:
        The number of steps taken since the beginning of the run.
    """
    done = start_step
    triggers = [trigger for trigger, _ in actions]
    try:
        while done < total_steps:
            limit = min(done + steps_per_loop, total_steps)
            due = (s for s in range(done + 1, limit) if _any(triggers, s))
            target = next(due, limit)
            began = time.monotonic()
            values = take_steps(target - done)
            seconds = time.monotonic() - began
            progress = _progress(values, target, target - done, seconds)
            done = target
            for trigger, action in actions:
                if trigger(done):
                    action(progress)
    except StopTraining:
        pass
    return done


def _any(triggers: Sequence[Trigger], at: int) -> bool:
    # `always` does not cut a stretch short.
    return any(trigger(at) for trigger in triggers if trigger is not always)


def _progress(
    values: dict[str, float], done: int, steps: int, seconds: float
) -> Progress:
    examples = max(values["examples"], 1.0)
    return Progress(
        step=done,
        steps=steps,
        loss=values["loss"] / examples,
        top_1_accuracy=values["correct"] / examples,
        examples=values["examples"],
        skipped=values["skipped"],
        skipped_in_a_row=values["skipped_in_a_row"],
        gradient_norm=values["gradient_norm"],
        learning_rate=values["learning_rate"],
        seconds=seconds,
        input_wait_seconds=values["waited"],
    )


def always(at: int) -> bool:
    """Acts after every stretch, whatever its length."""
    del at
    return True


def every(steps: int | None, total_steps: int) -> Trigger:
    """Acts at multiples of `steps`, and at the end; never where it is None."""

    def trigger(at: int) -> bool:
        return steps is not None and (at % steps == 0 or at == total_steps)

    return trigger
