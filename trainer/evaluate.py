"""Evaluates the checkpoints of a run, as they come or once.

    python -m trainer.evaluate --gin_file=F --model_dir=D --once

Every example of `train.eval_data` and `train.test_data` counts once. Results go
to metrics.jsonl, TensorBoard and the evaluation folder of --model_dir. Exit
codes: 0 done; 2 bad flag or config, or nothing to evaluate; 3 bad data.
"""

import os
import time

import tensorflow as tf
from absl import flags, logging

from trainer import (
    actions,
    checkpoint,
    cli,
    config,
    errors,
    report,
    results,
    rundir,
    session,
    writer,
)

_ONCE = flags.DEFINE_bool(
    "once",
    False,
    "Evaluate the newest checkpoint and end. Otherwise follow the checkpoints "
    "until the trainer has written DONE.",
)
_TIMEOUT = flags.DEFINE_float(
    "timeout",
    3600.0,
    "Seconds to wait for another checkpoint before giving up.",
    lower_bound=0.0,
)
_POLL_SECONDS = 2.0
# What an evaluation may do differently from the training.
_FREE = (
    "eval_data.",
    "test_data.",
    "train.duration",
    "train.eval_data",
    "train.test_data",
)


def main() -> int:
    """Evaluates; returns the exit code."""
    recipe = cli.load_recipe()
    model_dir = cli.require_model_dir()
    if not recipe.evaluations:
        raise errors.ConfigError(
            "There is nothing to evaluate: bind train.eval_data or "
            "train.test_data."
        )
    on = cli.make_engine()
    if on.host.count > 1:
        raise errors.ConfigError(
            f"trainer.evaluate runs in one process, not on {on.describe()}. "
            "Start one process, without a launcher; it may have several "
            "devices."
        )
    parts = session.build(recipe, on)
    rundir.check(model_dir, parts, config.operative_config(), _FREE)
    checkpoints = checkpoint.Checkpoints(os.path.join(model_dir, "checkpoints"))
    out = writer.Writer(model_dir, enabled=parts.engine.is_chief)
    evaluations = [
        actions.Evaluate(parts.evaluator(data), model_dir, out)
        for data in recipe.evaluations
    ]
    seen: list[int] = []
    done: int | None = None
    deadline = time.monotonic() + _TIMEOUT.value
    while True:
        # Asked before looking: a checkpoint that comes later is not missed.
        ended = tf.io.gfile.exists(os.path.join(model_dir, "DONE"))
        newest = checkpoints.steps()[-1:]
        if newest != seen:
            seen = newest
            step = checkpoints.restore_newest(parts.state.variables())
            if step is not None and step != done:
                done = step
                deadline = time.monotonic() + _TIMEOUT.value
                for evaluate in evaluations:
                    print(_line(evaluate.at(step)))
        if done is not None and (_ONCE.value or ended):
            break
        if _ONCE.value or time.monotonic() > deadline:
            return _nothing_new(model_dir, done)
        time.sleep(_POLL_SECONDS)
    print(f"report: {report.write_report(model_dir)}")
    return 0


def _nothing_new(model_dir: str, done: int | None) -> int:
    if done is None:
        raise errors.ConfigError(
            f"--model_dir={model_dir} has no checkpoint to evaluate. Train "
            "there first, or name the directory of another run."
        )
    logging.warning("No checkpoint after step %d came in time.", done)
    return 0


def _line(result: results.EvaluationResult) -> str:
    scores = result.metrics
    return (
        f"step {result.step}, {result.split}: "
        f"top-1 accuracy {100 * scores['top_1_accuracy']:.2f} %, "
        f"loss {scores['loss']:.4f}, {result.examples:,} examples"
    )


if __name__ == "__main__":
    cli.run(main)
