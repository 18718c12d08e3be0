"""A contender's side of the conversation with `benchmarks.contenders`.

A contender is a process that says when it is ready and then, for each number of
steps it reads, takes them and answers with the seconds they took. One JSON
object a line. Imports the standard library alone.
"""

import json
import os
import sys
import time
from collections.abc import Callable


class Orders:
    """Orders from stdin, answers to stdout."""

    def __init__(self) -> None:
        # What a library prints must not get between the answers.
        self._answers = os.fdopen(os.dup(1), "w", buffering=1)
        os.dup2(2, 1)

    def ready(self, version: str, parameters: int) -> None:
        """Says that orders can come.

        Args:
            version: Name and version of the framework.
            parameters: Trainable parameters of the model, to see that all
                contenders train the same.
        """
        self._say({"version": version, "parameters": parameters})

    def next(self) -> int:
        """Waits for the next order and returns its number of steps.

        Raises:
            SystemExit: There are no more.
        """
        line = sys.stdin.readline()
        if not line:
            raise SystemExit
        return int(line)

    def done(self, seconds: float) -> None:
        """Answers an order with the time it took."""
        self._say({"seconds": seconds})

    def serve(self, take_steps: Callable[[int], object]) -> None:
        """Carries out orders until there are no more."""
        while True:
            steps = self.next()
            began = time.perf_counter()
            take_steps(steps)
            self.done(time.perf_counter() - began)

    def _say(self, message: dict[str, float | int | str]) -> None:
        print(json.dumps(message), file=self._answers)
