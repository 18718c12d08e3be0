"""What a damaged data set has cost so far: to the log, and within limits."""

import dataclasses
import json

from absl import logging

from input import damage, pipeline
from trainer import engine, loop, writer


class DamageLog:
    """Writes down each loss of training data once, and holds it to its limit.

    Readers are ahead of training, and each process has its own: all tell each
    other what they have lost, so that all end at the same step.
    """

    def __init__(
        self, data: pipeline.TrainData, on: engine.Engine, to: writer.Writer
    ) -> None:
        self._data = data
        self._engine = on
        self._writer = to

    def __call__(self, latest: loop.Progress) -> None:
        """Reports what has been lost since the last time.

        Raises:
            input.errors.DataError: More is lost than
                `train_data.max_corrupt_fraction` allows.
        """
        ledger = self._data.ledger
        mine = [dataclasses.asdict(d) for d in ledger.unreported()]
        said = self._engine.exchange(json.dumps(mine).encode() if mine else b"")
        new = ledger.report(
            damage.Damage(**fields)
            for text in said
            if text
            for fields in json.loads(text)
        )
        if not new:
            return
        for found in new:
            logging.warning("Training data: %s.", found)
            self._writer.write(
                "corrupt", latest.step, dataclasses.asdict(found)
            )
        self._data.check_budget(ledger.reported())


def actions(
    data: pipeline.TrainData, on: engine.Engine, to: writer.Writer
) -> list[tuple[loop.Trigger, loop.Action]]:
    """Returns what is to be done in a training that may lose records."""
    if data.on_corrupt == "fail":
        return []
    return [(loop.always, DamageLog(data, on, to))]
