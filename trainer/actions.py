"""What is done between stretches of training; see `loop.run`."""

import contextlib
import dataclasses
import os
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from absl import logging

from input import eval_pipeline
from trainer import (
    agreement,
    evaluation,
    loop,
    phases,
    progress,
    results,
    scoring,
    writer,
)

# What asks a process to end; SIGUSR1 comes from Slurm, ahead of a job's limit.
STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)

Keep = Callable[[int, Mapping[str, float]], None]


class MetricsLog:
    """Gathers stretches, and writes the mean over them when asked.

    Args:
        to: Gets the metrics.
        total_steps: Of the run.
        spans: Its phases; where there are several, each line says which it is
            of, from 1.
        multi_label: Whether an example may have several classes.
    """

    def __init__(
        self,
        to: writer.Writer,
        total_steps: int,
        spans: Sequence[phases.Span] = (),
        multi_label: bool = False,
    ) -> None:
        self._writer = to
        self._multi_label = multi_label
        self._total_steps = total_steps
        self._spans = spans
        self._pending: list[loop.Progress] = []

    def gather(self, latest: loop.Progress) -> None:
        """Takes note of a stretch."""
        self._pending.append(latest)

    def write(self, latest: loop.Progress) -> None:
        """Writes what has been gathered since the last time."""
        merged = merge(self._pending)
        self._pending = []
        seconds = max(merged.seconds, 1e-9)
        values = {
            "loss": merged.loss,
            scoring.accuracy_name(self._multi_label): merged.top_1_accuracy,
            "learning_rate": merged.learning_rate,
            "gradient_norm": merged.gradient_norm,
            "images_per_second": merged.examples / seconds,
            "input_wait_fraction": merged.input_wait_seconds / seconds,
            "skipped_steps": merged.skipped,
        }
        if len(self._spans) > 1:
            # Of the last of the steps.
            values["phase"] = phases.at(self._spans, latest.step - 1).index + 1
        self._writer.write("train", latest.step, values)
        logging.info(
            "step %d/%d: %s",
            latest.step,
            self._total_steps,
            progress.describe(merged, self._multi_label),
        )


def merge(stretches: list[loop.Progress]) -> loop.Progress:
    """Returns several stretches in a row as one."""
    examples = max(sum(p.examples for p in stretches), 1.0)
    return dataclasses.replace(
        stretches[-1],
        steps=sum(p.steps for p in stretches),
        loss=sum(p.loss * p.examples for p in stretches) / examples,
        top_1_accuracy=sum(p.top_1_accuracy * p.examples for p in stretches)
        / examples,
        examples=examples,
        skipped=sum(p.skipped for p in stretches),
        seconds=sum(p.seconds for p in stretches),
        input_wait_seconds=sum(p.input_wait_seconds for p in stretches),
    )


class Evaluate:
    """Evaluates a split, writes what it found and logs it.

    Args:
        evaluator: Of the split.
        model_dir: Gets the result.
        to: Gets the metrics.
        keep: Told step and metrics, on the chief, before they are written:
            what is in metrics.jsonl has been kept.
        may_lag: Whether the trainer may have evaluated a later step, whose
            result then stays.
    """

    def __init__(
        self,
        evaluator: evaluation.Evaluator,
        model_dir: str,
        to: writer.Writer,
        keep: Keep | None = None,
        may_lag: bool = False,
    ) -> None:
        self._evaluator = evaluator
        self._model_dir = model_dir
        self._writer = to
        self._keep = keep
        self._may_lag = may_lag
        self._last: results.EvaluationResult | None = None

    @property
    def split(self) -> str:
        """Name of the split."""
        return self._evaluator.data.split

    def __call__(self, latest: loop.Progress) -> None:
        """Evaluates the weights as they are."""
        self.at(latest.step)

    def at(self, step: int) -> results.EvaluationResult:
        """Returns the result at a step; evaluates once for each."""
        if self._last is None or self._last.step != step:
            self._last = self._evaluate(step)
        return self._last

    def _evaluate(self, step: int) -> results.EvaluationResult:
        data = self._evaluator.data
        steps = data.steps(self._evaluator.global_batch_size)
        result = self._evaluator(
            step, progress.EvaluationBar(data.split, steps)
        )
        agreement.on_chief(self._evaluator.engine, lambda: self._write(result))
        logging.info(
            "step %d, %s: %s",
            step,
            data.split,
            results.describe(result),
        )
        return result

    def _write(self, result: results.EvaluationResult) -> None:
        name = f"{result.split}.npz"
        path = os.path.join(self._model_dir, "evaluation", name)
        if not (self._may_lag and results.step_of(path) > result.step):
            result.save(path)
        if self._keep is not None:
            self._keep(result.step, result.metrics)
        values = {"split": result.split} | result.metrics
        self._writer.write("eval", result.step, values)


def evaluations(
    evaluators: Iterable[evaluation.Evaluator],
    model_dir: str,
    to: writer.Writer,
    decisive: eval_pipeline.EvalData | None,
    keep: Keep,
    may_lag: bool = False,
) -> list[Evaluate]:
    """Returns an action for each evaluator, in order.

    Args:
        evaluators: Of the splits.
        model_dir: Gets the results.
        to: Gets the metrics.
        decisive: The split by which weights are kept.
        keep: Told of its metrics, see `Evaluate`.
        may_lag: See `Evaluate`.
    """
    return [
        Evaluate(
            each,
            model_dir,
            to,
            keep if each.data is decisive else None,
            may_lag,
        )
        for each in evaluators
    ]


class StopOnSignal:
    """Ends training in good order after SIGTERM, SIGUSR1 or Ctrl-C.

    SIGUSR1 is what Slurm sends ahead of a job's time limit.

    Attributes:
        received: Name of the signal that came, or None.
    """

    def __init__(self) -> None:
        self.received: str | None = None

    def together(
        self, exchange: Callable[[bytes], list[bytes]]
    ) -> Callable[[loop.Progress], None]:
        """Returns an action that stops the loop of all processes at once.

        Args:
            exchange: Of the engine. A signal to one process stops them all.
        """
        return lambda latest: self.check(exchange)

    def check(self, exchange: Callable[[bytes], list[bytes]]) -> None:
        """Raises loop.StopTraining where a signal has come to any process."""
        mine = self.received or ""
        names = [n.decode() for n in exchange(mine.encode()) if n]
        if names:
            self.received = self.received or names[0]
            raise loop.StopTraining

    @contextlib.contextmanager
    def watch(self) -> Iterator[None]:
        """Listens while the context lasts; a second Ctrl-C interrupts.

        Where a signal has come, what is left is to exit with the right code:
        later signals are ignored from then on.
        """
        interrupted = False

        def note(number: int, frame: object) -> None:
            nonlocal interrupted
            if number == signal.SIGINT and interrupted:
                raise KeyboardInterrupt
            interrupted = interrupted or number == signal.SIGINT
            name = signal.Signals(number).name
            self.received = name
            logging.info("%s: stopping after the steps under way.", name)

        before = {
            number: signal.signal(number, note) for number in STOP_SIGNALS
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(
                    number, signal.SIG_IGN if self.received else handler
                )
