"""Trains a classifier as a gin file says.

    python -m trainer.main --gin_file=gin/digits.gin --model_dir=runs/digits

Run the same command again to go on where it stopped. Exit codes: 0 done; 2 bad
flag or config; 3 bad data; 75 stopped by a signal, with a checkpoint of all
that has been trained, run it again; 1 anything else.
"""

import contextlib
import time

from absl import flags, logging

from trainer import (
    actions,
    agreement,
    checkpoint,
    cli,
    config,
    engine,
    errors,
    maintenance,
    owner,
    plan,
    report,
    results,
    rundir,
    session,
    warm_start,
    watchdog,
)
from trainer import recipe as recipe_lib
from trainer import train as train_lib

_DRY_RUN = flags.DEFINE_bool(
    "dry_run",
    False,
    "Build everything, print the plan, take one step and write nothing.",
)
_PLAN_FILE = flags.DEFINE_string(
    "plan_file",
    None,
    "With --dry_run: also write the plan there, as JSON (trainer.plan.facts).",
)
_ALLOW_CONFIG_CHANGE = flags.DEFINE_bool(
    "allow_config_change",
    False,
    "Go on in a --model_dir whose run was started with another config.",
)
_START_ANEW = flags.DEFINE_bool(
    "start_anew",
    False,
    "Begin at step 0 in a --model_dir whose checkpoints have gone, and remove "
    "what the earlier training has left: best/, DONE and STOP. Where there are "
    "checkpoints it changes nothing.",
)


def main() -> int:
    """Trains, evaluates and reports; returns the exit code."""
    began = time.monotonic()
    with cli.exit_on_signal(
        "Nothing has been trained: run the same command again to start."
    ):
        recipe, on, model_dir = _start()
        stop = actions.StopOnSignal()
        with (
            stop.watch(),
            maintenance.watch(stop, maintenance.server()),
            contextlib.ExitStack() as held,
        ):
            return _run(recipe, on, model_dir, stop, held, began)


def _start() -> tuple[recipe_lib.Recipe, engine.Engine, str]:
    """Returns what to train, where, and the directory, "" in a dry run."""
    if _PLAN_FILE.value and not _DRY_RUN.value:
        raise errors.ConfigError(
            f"--plan_file={_PLAN_FILE.value} needs --dry_run, which makes the "
            "plan without training. Add it, or leave --plan_file out."
        )
    recipe = cli.load_recipe()
    model_dir = "" if _DRY_RUN.value else cli.require_model_dir()
    on = cli.make_engine()
    logging.info("Engine: %s.", on.describe())
    return recipe, on, model_dir


def _run(
    recipe: recipe_lib.Recipe,
    on: engine.Engine,
    model_dir: str,
    stop: actions.StopOnSignal,
    held: contextlib.ExitStack,
    began: float,
) -> int:
    watch = held.enter_context(watchdog.Watchdog(recipe.hang_timeout))
    agreement.check_same_config(
        on,
        recipe,
        {
            "--dry_run": _DRY_RUN.value,
            "--allow_config_change": _ALLOW_CONFIG_CHANGE.value,
            "--start_anew": _START_ANEW.value,
        },
    )
    recipe.check_memory(on.host)
    parts = session.build(recipe, on)
    if _DRY_RUN.value:
        _show_plan(parts)
        return 0
    operative_config = config.operative_config()

    def check_model_dir() -> None:
        cli.check_writable(model_dir)
        held.enter_context(owner.own(model_dir))
        if not _START_ANEW.value:
            rundir.check_not_lost(model_dir)
        if not _ALLOW_CONFIG_CHANGE.value:
            rundir.check(model_dir, parts, operative_config)
        if (
            recipe.warm_start is not None
            and not checkpoint.of_run(model_dir).steps()
        ):
            warm_start.check(recipe.warm_start)

    agreement.on_chief(on, check_model_dir)
    try:
        final = train_lib.train(parts, model_dir, operative_config, stop, watch)
    except train_lib.Preempted as stopped:
        logging.warning("%s", stopped)
        on.leave_together()
        return cli.PREEMPTED
    _report(on, model_dir, final, time.monotonic() - began)
    return 0


def _report(
    on: engine.Engine,
    model_dir: str,
    final: list[results.EvaluationResult],
    seconds: float,
) -> None:
    """Writes the report, and returns when all processes have come so far."""
    if on.is_chief:
        path = report.write_report(model_dir)
        scores = "; ".join(
            f"{results.accuracy(result)} on {result.split} "
            f"({result.examples:,} examples)"
            for result in final[-1:]
        )
        print(f"{scores or 'trained'} after {seconds:.0f} s; report: {path}")
    on.leave_together()


def _show_plan(parts: session.Session) -> None:
    """Prints the plan, once; all processes take the trial step."""

    def describe() -> None:
        print(plan.describe(parts))
        if _PLAN_FILE.value:
            plan.save(parts, _PLAN_FILE.value)

    agreement.on_chief(parts.engine, describe)
    tried = plan.try_one_step(parts)
    if parts.engine.is_chief:
        print(tried)
    parts.engine.leave_together()


if __name__ == "__main__":
    cli.run(main)
