"""Evaluates the checkpoints of a run, as they come or once.

    python -m trainer.evaluate --gin_file=F --model_dir=D
    python -m trainer.evaluate --gin_file=F --model_dir=D --once

Runs beside the trainer, or after it, on any engine. Each checkpoint is
evaluated on `train.eval_data`, the last one of a training that has ended on
`train.test_data` as well; with --once, the newest on both. Every example counts
once, at any number of replicas. Results go to metrics.jsonl, TensorBoard and
the evaluation folder of --model_dir, the best checkpoint to best/. Exit codes:
0 done; 2 bad flag or config, or nothing to evaluate; 3 bad data.
"""

import contextlib
import os
import time
from collections.abc import Callable

from absl import flags, logging

from trainer import (
    actions,
    agreement,
    best,
    checkpoint,
    cli,
    config,
    engine,
    errors,
    follow,
    owner,
    report,
    results,
    rundir,
    saving,
    session,
    watchdog,
    writer,
)
from trainer import recipe as recipe_lib

_BY = "evaluate"
_ONCE = flags.DEFINE_bool(
    "once",
    False,
    "Evaluate the newest checkpoint and end. Otherwise follow the checkpoints "
    "until the trainer has written DONE: evaluate each once, in order.",
)
_LATEST_ONLY = flags.DEFINE_bool(
    "latest_only",
    False,
    "Where several checkpoints wait, evaluate the newest and leave out the "
    "others.",
)
_TIMEOUT = flags.DEFINE_float(
    "timeout",
    3600.0,
    "Seconds to wait for another checkpoint before giving up.",
    lower_bound=0.0,
)
_POLL_SECONDS = 2.0


def main() -> int:
    """Evaluates; returns the exit code."""
    with (
        cli.exit_on_signal("Run the same command again to go on."),
        contextlib.ExitStack() as held,
    ):
        recipe = cli.load_recipe()
        model_dir = cli.require_model_dir()
        if not recipe.evaluations:
            raise errors.ConfigError(
                "There is nothing to evaluate: bind train.eval_data or "
                "train.test_data."
            )
        on = cli.make_engine()
        logging.info("Engine: %s.", on.describe())
        watch = held.enter_context(watchdog.Watchdog(recipe.hang_timeout))
        parts, check = _build(recipe, on, model_dir, held)
        problem = _follow(parts, model_dir, watch, check)
        if problem:
            raise errors.ConfigError(problem)
        if on.is_chief:
            print(f"report: {report.write_report(model_dir)}")
        on.leave_together()
    return 0


def _build(
    recipe: recipe_lib.Recipe,
    on: engine.Engine,
    model_dir: str,
    held: contextlib.ExitStack,
) -> tuple[session.Session, Callable[[], None]]:
    """Returns what evaluates, where the directory is fit and nobody else's.

    And what makes sure of it again: the run may begin later than its
    evaluation.
    """
    agreement.check_same_config(
        on, recipe, {"--once": _ONCE.value, "--latest_only": _LATEST_ONLY.value}
    )
    parts = session.build(recipe, on)
    operative_config = config.operative_config()

    def check() -> None:
        rundir.check(model_dir, parts, operative_config, rundir.FREE_AFTERWARDS)

    def check_model_dir() -> None:
        check()
        if _ONCE.value and not checkpoint.of_run(model_dir).steps():
            return  # Nothing is left where there is nothing to evaluate.
        folder = os.path.join(model_dir, "evaluation")
        cli.check_writable(folder)
        held.enter_context(owner.own(folder, "let one job evaluate a run"))

    agreement.on_chief(on, check_model_dir)
    return parts, check


def _evaluations(
    parts: session.Session, model_dir: str, watch: watchdog.Watchdog
) -> list[actions.Evaluate]:
    recipe = parts.recipe
    out = writer.Writer(model_dir, enabled=parts.engine.is_chief, by=_BY)
    kept = best.Best(
        model_dir, recipe.kept_metric, recipe.best_direction, writer=f".{_BY}"
    )
    patience = recipe.optional_steps("early_stopping")
    # Before its line is in metrics.jsonl, a result has been kept.
    keep = saving.KeepBest(
        kept, parts.state, None, patience, since=parts.spans[-1].start
    )
    evaluators = [
        watch.evaluator(parts.evaluator(data)) for data in recipe.evaluations
    ]
    return actions.evaluations(
        evaluators, model_dir, out, recipe.eval_data, keep, may_lag=True
    )


def _follow(
    parts: session.Session,
    model_dir: str,
    watch: watchdog.Watchdog,
    check: Callable[[], None],
) -> str:
    """Evaluates what comes; returns why nothing could be, or ""."""
    recipe = parts.recipe
    evaluations = _evaluations(parts, model_dir, watch)

    def known() -> dict[int, set[str]]:
        return {} if _ONCE.value else follow.evaluated(model_dir, _BY)

    each, last = (
        [] if data is None else [data.split]
        for data in (recipe.eval_data, recipe.test_data)
    )
    checkpoints = follow.Follower(
        model_dir,
        parts,
        each + last if _ONCE.value else each,
        known,
        _LATEST_ONLY.value or _ONCE.value,
        final=last,
        check=check,
    )
    deadline = time.monotonic() + _TIMEOUT.value
    while True:
        watch.beat()
        now = checkpoints.next(late=time.monotonic() > deadline or _ONCE.value)
        if now.step is not None:
            for evaluate in evaluations:
                if evaluate.split not in now.splits:
                    continue
                result = evaluate.at(now.step)
                if parts.engine.is_chief:
                    print(_line(result), flush=True)
            deadline = time.monotonic() + _TIMEOUT.value
            if _ONCE.value:
                return ""
        elif now.ended:
            return now.problem
        else:
            time.sleep(_POLL_SECONDS)


def _line(result: results.EvaluationResult) -> str:
    return f"step {result.step}, {result.split}: {results.describe(result)}"


if __name__ == "__main__":
    cli.run(main)
