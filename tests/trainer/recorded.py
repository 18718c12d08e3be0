"""trainer.main that writes down which examples each step has seen.

    RECORD_TO=FOLDER RECORD_RUN=3 python -m tests.trainer.recorded FLAGS

Each process appends a line for each step to a file of its own, in step order;
`read` puts them together again.
"""

import json
import os
import pathlib
import time
from typing import Any

import numpy as np
import tensorflow as tf

from input import spec
from trainer import cli, main, state, step

# Long enough for somebody to end the process at a chosen step.
PAUSE = 0.03


def patch(folder: pathlib.Path, run: int) -> None:
    """Makes all training steps of this process record their rows."""
    take_step = step.TrainStep.__call__

    def note(done: np.int64, replica: np.int32, ids: np.ndarray) -> None:
        line = json.dumps({"step": int(done), "ids": ids.tolist()}) + "\n"
        path = folder / f"run-{run:03d}-replica-{replica}.jsonl"
        # One write: a process that is killed leaves a whole line or none.
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(file, line.encode())
        os.close(file)
        time.sleep(PAUSE)

    def recorded(
        self: step.TrainStep, train: state.TrainState, batch: spec.Batch
    ) -> Any:
        seen = [train.step, self.engine.replica_index(), batch[spec.INDEX]]
        tf.numpy_function(note, seen, [])
        return take_step(self, train, batch)

    step.TrainStep.__call__ = recorded


def read(folder: pathlib.Path, run: int) -> dict[int, list[list[int]]]:
    """Returns what a run has recorded: by step, the ids of each replica.

    A step that not all processes have recorded, when they were killed, has
    fewer than the others.
    """
    found: dict[int, list[list[int]]] = {}
    for path in sorted(folder.glob(f"run-{run:03d}-replica-*.jsonl")):
        for line in path.read_text().splitlines():
            noted = json.loads(line)
            found.setdefault(noted["step"], []).append(noted["ids"])
    return found


if __name__ == "__main__":
    patch(pathlib.Path(os.environ["RECORD_TO"]), int(os.environ["RECORD_RUN"]))
    cli.run(main.main)
