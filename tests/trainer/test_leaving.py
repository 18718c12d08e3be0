"""A process that has done its work ends at once, and loses nothing."""

import pathlib
import re
import subprocess
import sys

import pytest
import tensorflow as tf

from tests.conftest import REPO
from tests.trainer import restarts
from tests.trainer.test_main import tiny


def events(folder: pathlib.Path) -> set[tuple[int, str]]:
    """Step and name of all scalars in TensorBoard's files."""
    return {
        (event.step, event.summary.value[0].tag)
        for path in folder.rglob("events*")
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
        for event in [tf.compat.v1.Event.FromString(record)]
        if event.HasField("summary")
    }


# Nothing of it is closed because nobody holds it any longer.
HELD = """
from trainer import cli, main, writer

held = []

class Held(writer.Writer):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        held.append(self)

writer.Writer = Held
cli.run(main.main)
"""


def test_tensorboard_has_all_steps(tmp_path: pathlib.Path) -> None:
    """Without evaluation, nobody else asks for its files to be written."""
    flags = tiny(tmp_path, "train.eval_data=None", 'train.log_every="5 steps"')
    subprocess.run([sys.executable, "-c", HELD, *flags], cwd=REPO, check=True)
    found = events(tmp_path / "tensorboard")
    assert {step for step, _ in found} == {5, 10, 15, 20}
    names = {name for _, name in found}
    assert "loss" in names and len(found) == 4 * len(names)


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


TAKEN_APART = """
import atexit
from trainer import cli

class Part:
    def __del__(self):
        print("taken apart", flush=True)

part = Part()
atexit.register(print, "asked to clean up")

def main():
    print("no end of line", end="")
    return 75

cli.run(main)
"""


def test_nothing_is_taken_apart() -> None:
    """What TensorFlow waits for at that may take minutes."""
    done = subprocess.run(
        [sys.executable, "-c", TAKEN_APART],
        cwd=REPO,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 75
    assert done.stdout == "no end of lineasked to clean up\n"
