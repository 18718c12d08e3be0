"""What a person sees while a run goes on."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any

import tqdm
from absl import logging

from trainer import loop

_LOG_SECONDS = 30.0


def _on_terminal() -> bool:
    return sys.stderr.isatty()


class TrainingBar:
    """A live line on a terminal; nothing elsewhere, where logs speak."""

    def __init__(
        self,
        start_step: int,
        total_steps: int,
        enabled: bool = True,
        multi_label: bool = False,
    ) -> None:
        self._multi_label = multi_label
        self._bar = tqdm.tqdm(
            total=total_steps,
            initial=start_step,
            unit="step",
            desc="train",
            dynamic_ncols=True,
            disable=not (enabled and _on_terminal()),
        )

    def __call__(self, progress: loop.Progress) -> None:
        """Shows the last stretch."""
        line = describe(progress, self._multi_label)
        self._bar.set_postfix_str(line, refresh=False)
        # After a rollback it goes back.
        self._bar.update(progress.step - self._bar.n)

    def __enter__(self) -> "TrainingBar":
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.close()


def describe(progress: loop.Progress, multi_label: bool = False) -> str:
    """Returns loss, accuracy, speed and input wait in one line."""
    seconds = max(progress.seconds, 1e-9)
    # Of several classes, all must be right.
    accuracy = "all classes right" if multi_label else "top-1"
    return (
        f"loss {progress.loss:.4f}, {accuracy} {progress.top_1_accuracy:.1%}, "
        f"{progress.examples / seconds:,.0f} images/s, "
        f"input wait {progress.input_wait_seconds / seconds:.0%}"
    )


class EvaluationBar:
    """Wraps the batches of an evaluation to show how far it is."""

    def __init__(self, split: str, steps: int, doing: str = "evaluate") -> None:
        self._split = split
        self._doing = doing
        self._steps = steps

    def __call__(self, batches: Iterable[Any]) -> Iterator[Any]:
        """Yields the batches."""
        if _on_terminal():
            yield from tqdm.tqdm(
                batches,
                total=self._steps,
                unit="batch",
                desc=f"{self._doing} {self._split}",
                leave=False,
                dynamic_ncols=True,
            )
            return
        said = time.monotonic()
        for done, batch in enumerate(batches):
            if time.monotonic() - said > _LOG_SECONDS:
                said = time.monotonic()
                logging.info(
                    "%s %s: %d of %d batches",
                    self._doing,
                    self._split,
                    done,
                    self._steps,
                )
            yield batch
