"""A process that has done its work ends at once, and loses nothing."""

import pathlib
import re

import pytest
import tensorflow as tf

from tests.trainer import restarts
from tests.trainer.test_main import tiny


def events(folder: pathlib.Path) -> list[int]:
    """The steps of all scalars in TensorBoard's files."""
    return [
        event.step
        for path in folder.rglob("events*")
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
        for event in [tf.compat.v1.Event.FromString(record)]
        if event.HasField("summary")
    ]


def test_tensorboard_has_all_steps(tmp_path: pathlib.Path) -> None:
    """Without evaluation, nobody else asks for its files to be written."""
    flags = tiny(tmp_path, "train.eval_data=None", 'train.log_every="5 steps"')
    restarts.run("trainer.main", *flags)
    assert set(events(tmp_path / "tensorboard")) == {5, 10, 15, 20}


def test_the_end_of_one_worker_is_no_crash(tmp_path: pathlib.Path) -> None:
    flags = tiny(tmp_path, 'make_engine.name="multi_worker"')
    output = restarts.run(
        *("launch.local", "--workers=2", "--engine=multi_worker", "--"),
        *("python", "-m", "trainer.main", *flags),
    )
    assert not re.search("crashed|UNAVAILABLE|unhealthy", output)


LEAVE = """
import os, sys
from trainer import bindings, engines

bindings.register()
on = engines.make_engine(sys.argv[1], startup_timeout=60.0)
on.exchange(b"to have the function traced")
on.leave_together()
os._exit(0)
"""


@pytest.mark.parametrize("engine", ["multi_worker", "horovod"])
def test_leaving_breaks_no_collective(engine: str) -> None:
    """What one has sent last must have arrived before it ends."""
    restarts.run(
        *("launch.local", "--workers=2", f"--engine={engine}", "--"),
        *("python", "-c", LEAVE, engine),
    )


def test_all_hear_of_a_mistake_that_one_has_found(
    tmp_path: pathlib.Path,
) -> None:
    """Not that the connection to it is gone."""
    (tmp_path / "file").touch()
    flags = tiny(tmp_path / "file" / "run", 'make_engine.name="multi_worker"')
    output = restarts.run(
        *("launch.local", "--workers=2", "--engine=multi_worker", "--"),
        *("python", "-m", "trainer.main", *flags),
        code=2,
    )
    assert output.count("cannot be written to") >= 2
    assert "UNAVAILABLE" not in output
    assert "Socket closed" not in output
