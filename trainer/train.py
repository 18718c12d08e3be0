"""Training from a built session to final results: wiring only."""

from absl import logging

from trainer import (
    actions,
    agreement,
    checkpoint,
    loop,
    preview,
    results,
    rollback,
    rundir,
    saver,
    session,
    stretches,
    warm_start,
    watchdog,
    writer,
)


class Preempted(Exception):  # noqa: N818 - a request, not an error
    """A signal or a notice ended training; what was done is committed."""


def train(
    parts: session.Session,
    model_dir: str,
    operative_config: str,
    stop: actions.StopOnSignal,
    watch: watchdog.Watchdog,
) -> list[results.EvaluationResult]:
    """Trains to the end of the recipe, from the newest checkpoint if any.

    Args:
        parts: A recipe built on an engine.
        model_dir: A directory that `rundir.check` has found fit.
        operative_config: The bindings in use, to be kept beside the run.
        stop: Knows whether a signal has come.
        watch: Told of all progress.

    Returns:
        The final results on `eval_data` and `test_data`, as far as given.

    Raises:
        Preempted: SIGTERM, Ctrl-C or a maintenance notice came.
        errors.DivergedError: The loss is not finite, or the like.
        errors.CheckpointError: A checkpoint cannot be written.
        errors.ConfigError: No checkpoint can be read, or they are of another
            model.
    """
    recipe, total = parts.recipe, parts.recipe.horizon.total_steps
    checkpoints = checkpoint.of_run(model_dir, recipe.retention)
    with saver.Saver(watch.beat) as background:

        def resume() -> int:
            return _resume(parts, checkpoints, background)

        start = resume()
        watch.beat(start)
        if start:
            logging.info("Going on from step %d of %d.", start, total)
        agreement.on_chief(
            parts.engine,
            lambda: rundir.claim(model_dir, parts, operative_config),
        )
        if not start:
            agreement.on_chief(
                parts.engine, lambda: preview.write(recipe, model_dir)
            )

        def beat() -> None:
            watch.beat()
            stop.check(parts.engine.exchange)

        try:
            parts = parts.with_features(beat)
        except loop.StopTraining:
            raise Preempted(
                f"{stop.received}: stopped at step {start} of {total}, while "
                "features were computed. Run the same command again to go on."
            ) from None
        out = writer.Writer(model_dir, enabled=parts.engine.is_chief)
        resumed = parts.engine.is_chief and bool(checkpoints.steps())
        out.write(
            "run",
            start,
            {"engine": parts.engine.describe(), "resumed": resumed},
        )
        run = stretches.Stretches(
            parts, model_dir, checkpoints, background, out, stop, watch
        )
        run.begin(start)
        done = rollback.Rollback(parts, out, resume).run(run.train, start)
        if run.ending.reason:
            logging.info(
                "Ended at step %d of %d: %s.", done, total, run.ending.reason
            )
        elif done < total:
            raise Preempted(
                f"{stop.received}: stopped at step {done} of {total}; a "
                "checkpoint is committed. Run the same command again to go on."
            )
        final = [evaluate.at(done) for evaluate in run.evaluations]
        # The last evaluation may have been of the best weights.
        agreement.on_chief(parts.engine, background.wait)
    agreement.on_chief(parts.engine, lambda: rundir.finish(model_dir, done))
    return final


def _resume(
    parts: session.Session,
    checkpoints: checkpoint.Checkpoints,
    background: saver.Saver,
) -> int:
    """Returns the step that all processes go on from, with one state.

    The chief reads; the others need not see its disk.
    """
    variables = parts.state.variables()

    def restore() -> None:
        # After a rollback, the newest may still be on its way to the disk.
        background.wait()
        path = parts.recipe.warm_start
        if checkpoints.restore_newest(variables) is None and path is not None:
            warm_start.load(path, variables)

    agreement.on_chief(parts.engine, restore)
    parts.engine.broadcast(list(variables.values()))
    return int(parts.state.step.numpy())
