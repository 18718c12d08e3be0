"""How far a long piece of work is: a bar on a terminal, else log lines."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator

import tqdm
from absl import logging

_SECONDS_BETWEEN_LINES = 10.0


@contextlib.contextmanager
def progress(total: int, unit: str) -> Iterator[Callable[[], None]]:
    """Yields a function to be called, from any thread, for each unit done.

    Args:
        total: Units to be done.
        unit: What they are called, such as "images".
    """
    lock = threading.Lock()
    if sys.stderr.isatty():
        with tqdm.tqdm(total=total, unit=f" {unit}", unit_scale=True) as bar:

            def update() -> None:
                with lock:
                    bar.update()

            yield update
        return

    done = 0
    start = time.monotonic()
    next_line = start + _SECONDS_BETWEEN_LINES

    def count() -> None:
        nonlocal done, next_line
        with lock:
            done += 1
            now = time.monotonic()
            if now >= next_line:
                next_line = now + _SECONDS_BETWEEN_LINES
                rate = done / (now - start)
                logging.info(
                    "%s of %s %s, %.0f a second, %.0f seconds left",
                    f"{done:,}",
                    f"{total:,}",
                    unit,
                    rate,
                    (total - done) / rate,
                )

    yield count
