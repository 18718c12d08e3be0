"""A TensorBoard profile of some steps; an action of `loop.run`."""

import contextlib
from collections.abc import Iterator

import tensorflow as tf
from absl import logging

from trainer import errors, loop


class Profile:
    """Writes a TensorBoard profile of some steps.

    As a context it begins a profile that is due where training begins, and ends
    one that the end of training has cut short. It is due in every process, so
    that all take the same steps at a time, but only one where it is `enabled`
    writes. Where a profile cannot be written, training goes on without.

    Args:
        window: After which steps to begin and to end; None: never.
        board_dir: Gets the profile.
        start: Steps already taken. A run that goes on within the window has
            its profile from there on.
        enabled: Whether this process writes.
    """

    def __init__(
        self,
        window: range | None,
        board_dir: str,
        start: int = 0,
        enabled: bool = True,
    ) -> None:
        self._window = window or range(0)
        self._board_dir = board_dir
        self._start = start
        self._enabled = enabled
        self._running = False

    def is_due(self, at: int) -> bool:
        """Returns whether the profile begins or ends after this step."""
        window = self._window
        return len(window) > 0 and at in (window.start, window.stop)

    def __call__(self, latest: loop.Progress) -> None:
        """Begins or ends it."""
        if self._running:
            self._stop()
        else:
            self._begin(latest.step)

    def __enter__(self) -> "Profile":
        self._begin(self._start)
        return self

    def __exit__(self, *exception: object) -> None:
        if self._running:
            self._stop()

    def _begin(self, at: int) -> None:
        if self._enabled and at in self._window:
            with self._warned():
                tf.profiler.experimental.start(self._board_dir)
                self._running = True

    def _stop(self) -> None:
        self._running = False
        with self._warned():
            tf.profiler.experimental.stop()
            logging.info("A profile is in %s.", self._board_dir)

    @contextlib.contextmanager
    def _warned(self) -> Iterator[None]:
        try:
            yield
        except tf.errors.OpError as error:
            logging.warning(
                "No profile in %s: %s", self._board_dir, errors.reason(error)
            )
