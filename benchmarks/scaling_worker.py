"""One process of a group that trains together, or of one that does not.

    python -m benchmarks.scaling_worker KIND ENGINE COUNT CASE [OUTPUT]

KIND is what an order makes it do:

    train      steps of the trainer
    no_reduce  the same, but nothing is added up across processes
    reduce     all-reduces of the gradients and sums of a step, and nothing else
    sweep      rounds of all-reduces of growing size; process 0 writes their
               times to OUTPUT, for launch.fit

ENGINE is that of a training by COUNT processes; `one_device` trains alone.
benchmarks/groups.py starts these, each on one core.
"""

import json
import pathlib
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any
from unittest import mock

import keras
import tensorflow as tf

from benchmarks import cases, orders
from models import summary
from trainer import bindings, config, engine, loop, session

SIZES = [4 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20, 16 << 20, 64 << 20]

_VERSION = f"TensorFlow {tf.__version__}, Keras {keras.__version__}"
# Enough that the clock does not matter, and that no size takes seconds.
_SWEEP_BYTES = 32 << 20
_FEWEST_CALLS = 2
_MOST_CALLS = 50

Calls = Callable[[int, Sequence[tf.Tensor]], float]


def build(
    engine_name: str, count: int, case: cases.Case, *more: str
) -> session.Session:
    """Returns a training.

    Args:
        engine_name: The engine, whose variables are in the environment.
        count: Processes; each has the rows of the case.
        case: What to train.
        *more: Further bindings.
    """
    bindings.register()
    config.parse(
        ["benchmarks/step.gin"],
        [
            *case.gin_params,
            f"train.global_batch_size = {count * case.batch}",
            # Otherwise every process would read the records of all.
            'train_data.shard_by = "file"',
            f'make_engine.name = "{engine_name}"',
            *more,
        ],
    )
    return session.build(config.call("train"), config.call("make_engine"))


def train(parts: session.Session, todo: orders.Orders) -> None:
    """Takes steps as trainer.main does, without its actions."""
    compiled = parts.take_steps(0)
    _ready(parts, todo)

    def take(steps: int) -> None:
        loop.run(
            compiled,
            [],
            start_step=0,
            total_steps=steps,
            steps_per_loop=parts.recipe.steps_per_loop,
        )

    todo.serve(take)


def reduce(parts: session.Session, todo: orders.Orders) -> None:
    """All-reduces what a step does: gradients and three sums."""
    shapes = [weight.shape for weight in parts.state.model.trainable_variables]
    tensors = [tf.zeros(shape) for shape in [*shapes, (), (), ()]]
    call = compile_all_reduce(parts.engine)
    _ready(parts, todo)
    todo.serve(lambda steps: call(steps, tensors))


def sweep(
    parts: session.Session, todo: orders.Orders, output: pathlib.Path
) -> None:
    """Times all-reduces of single tensors, sizes taking turns."""
    call = compile_all_reduce(parts.engine)
    _ready(parts, todo)
    found: list[dict[str, Any]] = []

    def take(rounds: int) -> None:
        for size in SIZES * rounds:
            tensors = [tf.zeros(size // 4)]
            calls = min(max(_SWEEP_BYTES // size, _FEWEST_CALLS), _MOST_CALLS)
            call(1, tensors)
            seconds = call(calls, tensors)
            found.append(
                {
                    "engine": parts.engine.name,
                    "processes": parts.engine.num_replicas,
                    "bytes": size,
                    "seconds": seconds / calls,
                }
            )
        if parts.engine.is_chief:
            output.write_text(json.dumps(found))

    todo.serve(take)


def compile_all_reduce(on: engine.Engine) -> Calls:
    """Returns a function that all-reduces tensors some times over.

    Each call waits for the one before. The tensors should be zero, for sums
    of sums grow.

    Args:
        on: Adds up, as one group.

    Returns:
        A function of the number of calls and the tensors, which returns the
        seconds they took.
    """

    def all_reduce(tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        # What a loop in the graph hands on is on no device, which tf.distribute
        # wants to know.
        return on.all_reduce([tf.identity(tensor) for tensor in tensors])

    @tf.autograph.experimental.do_not_convert
    def once(tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        reduced = on.first(on.run(all_reduce, tensors))
        return [
            tf.ensure_shape(after, before.shape)
            for after, before in zip(reduced, tensors, strict=True)
        ]

    @tf.function
    def repeat(calls: tf.Tensor, tensors: Sequence[tf.Tensor]) -> tf.Tensor:
        for _ in tf.range(calls):
            tensors = once(tensors)
        return tensors[0]

    def timed(calls: int, tensors: Sequence[tf.Tensor]) -> float:
        began = time.perf_counter()
        repeat(tf.constant(calls), tensors).numpy()
        return time.perf_counter() - began

    return timed


def _ready(parts: session.Session, todo: orders.Orders) -> None:
    todo.ready(_VERSION, summary.parameter_count(parts.state.model))


def main() -> None:
    """Becomes the process that the command line describes."""
    kind, engine_name, count, case_name, *output = sys.argv[1:]
    todo = orders.Orders()
    parts = build(engine_name, int(count), cases.CASES[case_name])
    if kind == "no_reduce":
        with mock.patch.object(parts.engine, "all_reduce", list):
            train(parts, todo)
    elif kind == "sweep":
        sweep(parts, todo, pathlib.Path(*output))
    else:
        {"train": train, "reduce": reduce}[kind](parts, todo)


if __name__ == "__main__":
    main()
