"""Training from a built session to final results: wiring only."""

import os

from absl import logging

from trainer import (
    actions,
    agreement,
    checkpoint,
    divergence,
    loop,
    progress,
    results,
    rollback,
    rundir,
    session,
    watchdog,
    writer,
)


class Preempted(Exception):  # noqa: N818 - a request, not an error
    """A signal or a notice ended training; a checkpoint is committed."""


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
        divergence.DivergedError: The loss is not finite, or the like.
        errors.ConfigError: No checkpoint can be read, or they are of another
            model.
    """
    recipe, total = parts.recipe, parts.recipe.horizon.total_steps
    checkpoints = checkpoint.Checkpoints(
        os.path.join(model_dir, "checkpoints"), recipe.keep_checkpoints
    )
    start = _resume(parts, checkpoints)
    watch.beat(start)
    if start:
        logging.info("Going on from step %d of %d.", start, total)
    if parts.engine.is_chief:
        rundir.claim(model_dir, parts, operative_config)
    out = writer.Writer(model_dir, enabled=parts.engine.is_chief)
    out.write("run", start, {"engine": parts.engine.describe()})
    stretches = _Stretches(parts, model_dir, checkpoints, out, stop, watch)
    if recipe.on_divergence == "rollback" and not start:
        stretches.save(0)  # There is always something to go back to.
    done = rollback.Rollback(
        parts, out, lambda: _resume(parts, checkpoints)
    ).run(stretches.run, start)
    if done < total:
        # Whoever ends first may get the others ended: not before it is saved.
        parts.engine.exchange(b"saved")
        raise Preempted(
            f"{stop.received}: stopped at step {done} of {total}; a checkpoint "
            "is committed. Run the same command again to go on."
        )
    final = [evaluate.at(done) for evaluate in stretches.evaluations]
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


class _Stretches:
    """The loop of a run and its actions, from any step to the end.

    Attributes:
        evaluations: Of the recipe's splits, in order.
    """

    def __init__(
        self,
        parts: session.Session,
        model_dir: str,
        checkpoints: checkpoint.Checkpoints,
        out: writer.Writer,
        stop: actions.StopOnSignal,
        watch: watchdog.Watchdog,
    ) -> None:
        self._parts, self._out = parts, out
        self._model_dir = model_dir
        self._stop, self._watch = stop, watch
        self._total = parts.recipe.horizon.total_steps
        self._guard = divergence.Guard(parts)
        self._write = actions.save(
            checkpoints, parts.state, parts.engine.is_chief
        )
        self._evaluators = [
            watch.evaluator(parts.evaluator(data))
            for data in parts.recipe.evaluations
        ]
        self._take_steps: loop.TakeSteps | None = None
        self.evaluations: list[actions.Evaluate] = []

    def save(self, step: int) -> None:
        """Writes a checkpoint, unless a weight is not finite."""
        self._guard.check_weights()
        self._write(step)

    def run(self, start: int) -> int:
        """Returns the steps taken when training has ended or was stopped.

        Raises:
            divergence.DivergedError: Training has gone wrong.
        """
        recipe, total = self._parts.recipe, self._total
        # After a rollback a step comes again, with another result.
        self.evaluations = [
            actions.Evaluate(evaluator, self._model_dir, self._out)
            for evaluator in self._evaluators
        ]
        # Kept to the end: tearing the pipeline's threads down takes seconds,
        # and would otherwise happen in the midst of the last evaluation.
        take_steps = self._take_steps = self._parts.take_steps(start)
        speaks = self._parts.engine.is_chief
        bar = progress.TrainingBar(start, total, enabled=speaks)
        profile = actions.Profile(
            recipe.profile_window, self._out.board_dir, enabled=speaks
        )
        with bar, profile:
            done = loop.run(
                take_steps,
                self._watch.actions(self._plan(bar, profile)),
                start_step=start,
                total_steps=total,
                steps_per_loop=recipe.steps_per_loop,
            )
            if done < total:
                self.save(done)
        return done

    def _plan(
        self, bar: progress.TrainingBar, profile: actions.Profile
    ) -> list[tuple[loop.Trigger, loop.Action]]:
        """Returns what is done when, in order."""
        recipe, total = self._parts.recipe, self._total
        log = actions.MetricsLog(self._out, total)
        log_due = loop.every(recipe.steps("log_every"), total)
        save_due = loop.every(recipe.steps("checkpoint_every"), total)
        evaluate_due = loop.every(recipe.steps("evaluate_every"), total)
        plan: list[tuple[loop.Trigger, loop.Action]] = [
            (loop.always, self._guard),
            (loop.always, bar),
            (loop.always, log.gather),
            (log_due, log.write),
            (save_due, lambda latest: self.save(latest.step)),
        ]
        if recipe.eval_data is not None:
            plan.append((evaluate_due, self.evaluations[0]))
        exchange = self._parts.engine.exchange
        return [
            *plan,
            (profile.is_due, profile),
            (loop.always, self._stop.together(exchange)),
        ]
