"""Training from a built session to final results: wiring only."""

import os

from absl import logging

from trainer import (
    actions,
    agreement,
    checkpoint,
    damage_log,
    loop,
    progress,
    results,
    rundir,
    session,
    writer,
)


class Preempted(Exception):  # noqa: N818 - a request, not an error
    """A signal ended training; a checkpoint is committed."""


def train(
    parts: session.Session,
    model_dir: str,
    operative_config: str,
    stop: actions.StopOnSignal,
) -> list[results.EvaluationResult]:
    """Trains to the end of the recipe, from the newest checkpoint if any.

    Args:
        parts: A recipe built on an engine.
        model_dir: A directory that `rundir.check` has found fit.
        operative_config: The bindings in use, to be kept beside the run.
        stop: Knows whether a signal has come.

    Returns:
        The final results on `eval_data` and `test_data`, as far as given.

    Raises:
        Preempted: SIGTERM or Ctrl-C came.
        actions.DivergedError: The loss is not finite.
        errors.ConfigError: No checkpoint can be read, or they are of another
            model.
    """
    recipe, total = parts.recipe, parts.recipe.horizon.total_steps
    checkpoints = checkpoint.Checkpoints(
        os.path.join(model_dir, "checkpoints"), recipe.keep_checkpoints
    )
    start = _resume(parts, checkpoints)
    if start:
        logging.info("Going on from step %d of %d.", start, total)
    if parts.engine.is_chief:
        rundir.claim(model_dir, parts, operative_config)
    out = writer.Writer(model_dir, enabled=parts.engine.is_chief)
    out.write("run", start, {"engine": parts.engine.describe()})
    evaluations = [
        actions.Evaluate(parts.evaluator(data), model_dir, out)
        for data in recipe.evaluations
    ]
    profile = actions.Profile(
        recipe.profile_window, out.board_dir, enabled=parts.engine.is_chief
    )
    # Kept to the end: tearing the pipeline's threads down takes seconds, and
    # would otherwise happen in the midst of the last evaluation.
    take_steps = parts.take_steps(start)
    bar = progress.TrainingBar(start, total, enabled=parts.engine.is_chief)
    with bar, profile:
        done = loop.run(
            take_steps,
            [
                *_plan(parts, checkpoints, out, evaluations, bar),
                (profile.is_due, profile),
                (loop.always, stop.together(parts.engine.exchange)),
            ],
            start_step=start,
            total_steps=total,
            steps_per_loop=recipe.steps_per_loop,
        )
    if done < total:
        actions.save(checkpoints, parts.state, parts.engine.is_chief)(done)
        # Whoever ends first may get the others ended: not before it is saved.
        parts.engine.exchange(b"saved")
        raise Preempted(
            f"{stop.received}: stopped at step {done} of {total}; a checkpoint "
            "is committed. Run the same command again to go on."
        )
    final = [evaluate.at(done) for evaluate in evaluations]
    if parts.engine.is_chief:
        rundir.finish(model_dir, done)
    return final


def _resume(parts: session.Session, checkpoints: checkpoint.Checkpoints) -> int:
    """Returns the step that all processes go on from, with one state.

    The chief reads; the others need not see its disk.
    """
    variables = parts.state.variables()
    agreement.on_chief(
        parts.engine, lambda: checkpoints.restore_newest(variables)
    )
    parts.engine.broadcast(list(variables.values()))
    return int(parts.state.step.numpy())


def _plan(
    parts: session.Session,
    checkpoints: checkpoint.Checkpoints,
    out: writer.Writer,
    evaluations: list[actions.Evaluate],
    bar: progress.TrainingBar,
) -> list[tuple[loop.Trigger, loop.Action]]:
    """Returns what is done when, in order."""
    recipe, total = parts.recipe, parts.recipe.horizon.total_steps
    log = actions.MetricsLog(out, total)
    save = actions.save(checkpoints, parts.state, parts.engine.is_chief)
    log_due = loop.every(recipe.steps("log_every"), total)
    save_due = loop.every(recipe.steps("checkpoint_every"), total)
    evaluate_due = loop.every(recipe.steps("evaluate_every"), total)
    plan: list[tuple[loop.Trigger, loop.Action]] = [
        (loop.always, actions.stop_when_diverged),
        (loop.always, bar),
        (loop.always, log.gather),
        (log_due, log.write),
        (save_due, lambda latest: save(latest.step)),
        *damage_log.actions(recipe.train_data, parts.engine, out),
    ]
    if recipe.eval_data is not None:
        plan.append((evaluate_due, evaluations[0]))
    return plan
