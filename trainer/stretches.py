"""The loop of a run and its actions: what is done when, in order."""

from absl import logging

from trainer import (
    actions,
    agreement,
    best,
    checkpoint,
    damage_log,
    divergence,
    early,
    loop,
    phases,
    profiling,
    progress,
    progressive,
    saver,
    saving,
    session,
    starvation,
    watchdog,
    writer,
)


class Stretches:
    """Trains from any step to the end, with all that belongs to it.

    Args:
        parts: The run.
        model_dir: Where it lives.
        checkpoints: Where it saves.
        background: Does the saving.
        out: Takes its numbers.
        stop: Knows whether a signal has come.
        watch: Told of all progress.

    Attributes:
        evaluations: Of the recipe's splits, in order.
        save: Writes a checkpoint of a step.
        ending: Knows whether training has ended before its time.
    """

    def __init__(
        self,
        parts: session.Session,
        model_dir: str,
        checkpoints: checkpoint.Checkpoints,
        background: saver.Saver,
        out: writer.Writer,
        stop: actions.StopOnSignal,
        watch: watchdog.Watchdog,
    ) -> None:
        recipe = parts.recipe
        self._parts, self._out = parts, out
        self._model_dir = model_dir
        self._stop, self._watch = stop, watch
        self._total = recipe.horizon.total_steps
        self._multi_label = recipe.train_data.source.info.multi_label
        self._guard = divergence.Guard(parts)
        self._best = best.Best(
            model_dir, recipe.kept_metric, recipe.best_direction
        )
        self._background = background
        self._checkpoints = checkpoints
        self._evaluators = [
            watch.evaluator(parts.evaluator(data))
            for data in recipe.evaluations
        ]
        self._take_steps: loop.TakeSteps | None = None
        self.evaluations = self._evaluations()
        self.save = saving.Save(
            parts.engine,
            parts.state,
            checkpoints,
            background,
            self._guard.check_weights,
            self._note_first,
        )
        self._noted = False
        self._starvation = starvation.Starvation(
            recipe.train_data,
            parts.engine.host,
            out,
            enabled=parts.engine.is_chief,
            from_step=parts.features.until if parts.features else 0,
        )
        self.ending = early.StopWhenAsked(parts.engine, model_dir)

    def begin(self, start: int) -> None:
        """Tidies up, and makes sure that there is something to go back to."""

        def tidy() -> None:
            if self._checkpoints.steps():
                self._noted = True
                self._best.tidy()
            else:
                # What is there is of a training that has left no checkpoint:
                # it never had one, or is to be forgotten (--start_anew).
                early.forget(self._model_dir)
                self._best.forget()

        agreement.on_chief(self._parts.engine, tidy)
        recipe = self._parts.recipe
        # A source of weights may be another one by the next start.
        if not start and (
            recipe.on_divergence == "rollback" or recipe.warm_start is not None
        ):
            self.save(0)

    def _note_first(self, step: int) -> None:
        """Writes down that there is a checkpoint from now on.

        It tells a run that has lost its checkpoints from one that was killed
        before the first; see `rundir.check_not_lost`.
        """
        if not self._noted:
            self._noted = True
            self._out.write("checkpoint", step, {})

    def train(self, start: int) -> int:
        """Returns the steps taken when training has ended or was stopped.

        They are committed.

        Raises:
            errors.DivergedError: Training has gone wrong.
            errors.CheckpointError: A checkpoint cannot be written.
        """
        if self.ending.at(start):
            return start
        # After a rollback a step comes again, with another result.
        self.evaluations = self._evaluations()
        # Kept to the end: tearing the pipeline's threads down takes seconds,
        # and would otherwise happen in the midst of the last evaluation.
        take_steps = self._take_steps = self._parts.take_steps(start)
        speaks = self._parts.engine.is_chief
        bar = progress.TrainingBar(
            start, self._total, speaks, self._multi_label
        )
        profile = profiling.Profile(
            self._parts.recipe.profile_window,
            self._out.board_dir,
            start,
            enabled=speaks,
        )
        with bar, profile:
            done = loop.run(
                take_steps,
                self._watch.actions(self._plan(bar, profile)),
                start_step=start,
                total_steps=self._total,
                steps_per_loop=self._parts.recipe.steps_per_loop,
            )
        # Whoever ends first may get the others ended: not before it is saved.
        self.save.finish(done)
        return done

    def _evaluations(self) -> list[actions.Evaluate]:
        recipe = self._parts.recipe
        keep = saving.KeepBest(
            self._best,
            self._parts.state,
            self._background,
            recipe.optional_steps("early_stopping"),
            since=self._parts.spans[-1].start,
        )
        return actions.evaluations(
            self._evaluators,
            self._model_dir,
            self._out,
            recipe.eval_data,
            keep,
        )

    def _phase_begins(self, at: int) -> bool:
        return any(at == phase.start for phase in self._parts.spans[1:])

    def _announce_phase(self, latest: loop.Progress) -> None:
        phase = phases.at(self._parts.spans, latest.step)
        logging.info(
            "From step %d on, phase %d of %d: %s.",
            latest.step,
            phase.index + 1,
            len(self._parts.spans),
            phase.describe(),
        )

    def _stage_ends(self, at: int) -> bool:
        return any(at == stage.until for stage in self._parts.views)

    def _announce_stage(self, latest: loop.Progress) -> None:
        stage = progressive.at(self._parts.views, latest.step)
        height, width, _ = self._parts.recipe.train_data.image_shape
        if stage is not None:
            height, width = stage.height, stage.width
        logging.info(
            "From step %d on images have %d x %d pixels.",
            latest.step,
            height,
            width,
        )

    def _plan(
        self, bar: progress.TrainingBar, profile: profiling.Profile
    ) -> list[tuple[loop.Trigger, loop.Action]]:
        """Returns what is done when, in order.

        Evaluation comes before the checkpoint: what a checkpoint follows is
        done, and a restart need not do it again.
        """
        recipe, total = self._parts.recipe, self._total
        log = actions.MetricsLog(
            self._out, total, self._parts.spans, self._multi_label
        )
        log_due = loop.every(recipe.steps("log_every"), total)
        save_due = loop.every(recipe.steps("checkpoint_every"), total)
        evaluate_due = loop.every(
            recipe.optional_steps("evaluate_every"), total
        )
        plan: list[tuple[loop.Trigger, loop.Action]] = [
            (loop.always, self._guard),
            (loop.always, bar),
            (loop.always, log.gather),
            (log_due, log.write),
            (loop.always, self._starvation.gather),
            (log_due, self._starvation),
            *damage_log.actions(
                recipe.train_data, self._parts.engine, self._out
            ),
        ]
        if recipe.eval_data is not None:
            # The loss shows only a step later that a weight is ruined.
            plan.append((evaluate_due, lambda _: self._guard.check_weights()))
            plan.append((evaluate_due, self.evaluations[0]))
        exchange = self._parts.engine.exchange
        return [
            *plan,
            (save_due, lambda latest: self.save(latest.step)),
            (lambda at: evaluate_due(at) or save_due(at), self.ending),
            (profile.is_due, profile),
            (self._stage_ends, self._announce_stage),
            (self._phase_begins, self._announce_phase),
            (loop.always, self._stop.together(exchange)),
        ]
