"""What the tests of restarts share: a run with everything that has a state."""

import pathlib
import subprocess
import sys
import time

import numpy as np

from tests.conftest import REPO
from trainer import archive, checkpoint

# Everything random, everything with a state of its own, and evaluation.
BINDINGS = (
    "train.augment=[@random_crop(), @random_flip()]",
    "train.deterministic=True",
    "train.ema_decay=0.9",
    'train.precision="mixed_float16"',
    "simple_cnn.dropout=0.5",
    "train.keep_checkpoints=2",
)


def flags(model_dir: pathlib.Path, *bindings: str) -> list[str]:
    """Returns the flags of a run of tests/tiny.gin."""
    return [
        "--gin_file=tests/tiny.gin",
        f"--model_dir={model_dir}",
        *(f"--gin_param={b}" for b in (*BINDINGS, *bindings)),
    ]


def start(log: pathlib.Path, *command: str) -> subprocess.Popen:
    """Starts a Python module in the repository; a file takes its output."""
    with log.open("a") as output:
        return subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=REPO,
            stdout=output,
            stderr=subprocess.STDOUT,
        )


def run(*command: str, code: int = 0) -> str:
    """Runs a Python module to its end and returns its output."""
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=REPO,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == code, done.stdout
    return done.stdout


def wait_until(true, seconds: float = 120.0) -> None:
    """Returns once a function of no arguments returns something true."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def committed(model_dir: pathlib.Path, folder: str = "checkpoints") -> list:
    """Returns the steps of the committed checkpoints."""
    return checkpoint.Checkpoints(str(model_dir / folder)).steps()


def arrays(
    model_dir: pathlib.Path, folder: str = "checkpoints"
) -> dict[str, np.ndarray]:
    """Returns the newest checkpoint, verified."""
    found = checkpoint.Checkpoints(str(model_dir / folder))
    return archive.read(found.path(found.steps()[-1]))


def assert_same(one: pathlib.Path, other: pathlib.Path) -> None:
    """Asserts that two runs have ended with the same bits."""
    for folder in ("checkpoints", "best"):
        assert committed(one, folder)[-1:] == committed(other, folder)[-1:]
        expected, found = arrays(one, folder), arrays(other, folder)
        assert expected.keys() == found.keys()
        for name, value in expected.items():
            assert value.tobytes() == found[name].tobytes(), name
