"""Starts a training on digits and says how long each stage took.

    python -m benchmarks.startup BEGAN DATA_DIR

`benchmarks.memory` runs this; BEGAN is the Unix time at which it did so. Prints
one JSON object: seconds by stage, in order.
"""

import importlib
import json
import sys
import time
from typing import Any


class _Stages:
    """Seconds between one call and the next.

    Attributes:
        seconds: By stage.
    """

    def __init__(self, began: float) -> None:
        self.seconds: dict[str, float] = {}
        self._last = began

    def __call__(self, name: str) -> None:
        """Ends the stage `name`."""
        now = time.time()
        self.seconds[name] = now - self._last
        self._last = now


class _Traced:
    """Times the calls of a training step, each of which is a tracing.

    Attributes:
        seconds: Spent in them.
    """

    def __init__(self, step_class: Any) -> None:
        self.seconds = 0.0
        self._call = step_class.__call__
        step_class.__call__ = lambda *args: self._timed(*args)

    def _timed(self, *args: Any) -> Any:
        began = time.time()
        values = self._call(*args)
        self.seconds += time.time() - began
        return values


def main() -> None:
    """Goes from nothing to the second step, as trainer.main does."""
    ended = _Stages(float(sys.argv[1]))
    ended("Python")
    for name in ("tensorflow", "keras", "trainer.main"):
        importlib.import_module(name)
        ended(f"import {name}")
    from trainer import bindings, config, session, step

    bindings.register()
    config.parse(["gin/digits.gin"], [f'DATA_DIR="{sys.argv[2]}"'])
    recipe = config.call("train")
    recipe.check_data()
    ended("gin file and data set")
    engine = config.call("make_engine")
    ended("engine")
    parts = session.build(recipe, engine)
    ended("model and optimizer")
    take_steps = parts.take_steps(0)
    ended("input pipeline")
    traced = _Traced(step.TrainStep)
    take_steps(1)
    ended("first step")
    first = ended.seconds.pop("first step")
    total = sum(ended.seconds.values()) + first
    ended.seconds["first step: tracing in Python"] = traced.seconds
    ended.seconds["first step: graph, compilation, computation"] = (
        first - traced.seconds
    )
    ended.seconds["**start to first step**"] = total
    take_steps(1)
    ended("second step")
    print(json.dumps(ended.seconds))


if __name__ == "__main__":
    main()
