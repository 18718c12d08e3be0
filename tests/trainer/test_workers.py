"""trainer.main in several processes, as launch.local starts them."""

import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest

from tests.conftest import REPO
from tests.trainer.test_main import final_arrays, lines, tiny
from trainer import results

ENGINES = ["multi_worker", "horovod"]
SECONDS = 300
BINDINGS = (
    # Not at a multiple of the others: all must stop there, one writes.
    'train.profile = "3 steps at 7 steps"',
    'train.log_every = "5 steps"',
    'train.checkpoint_every = "10 steps"',
    'train.evaluate_every = "10 steps"',
    "train.deterministic = True",
)


def command(engine: str, model_dir: pathlib.Path, *bindings: str) -> list[str]:
    return [
        *(sys.executable, "-m", "launch.local", "--workers=2"),
        *(f"--engine={engine}", "--", sys.executable, "-m", "trainer.main"),
        *tiny(model_dir, *BINDINGS, f'make_engine.name = "{engine}"'),
        *(f"--gin_param={b}" for b in bindings),
    ]


def run(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        arguments,
        cwd=REPO,
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )


def mistakes(model_dir: pathlib.Path) -> set[tuple[str, int, int, bytes]]:
    """The worst mistakes, each with its image."""
    path = model_dir / "evaluation" / "validation.npz"
    found = results.EvaluationResult.load(str(path)).mistakes
    return {(m.name, m.label, m.predicted, m.image.tobytes()) for m in found}


@pytest.mark.parametrize("engine", ENGINES)
def test_two_processes_write_what_one_writes(engine: str, tmp_path) -> None:
    one = [sys.executable, "-m", "trainer.main"]
    answer = run([*one, *tiny(tmp_path / "one", *BINDINGS)])
    assert answer.returncode == 0, answer.stderr[-3000:]
    answer = run(command(engine, tmp_path / "two"))
    assert answer.returncode == 0, answer.stderr[-5000:]

    for kind, count in (("train", 4), ("eval", 2)):
        found = lines(tmp_path / "two", kind)
        expected = lines(tmp_path / "one", kind)
        assert len(found) == len(expected) == count
        for a, b in zip(found, expected, strict=True):
            assert a["loss"] == pytest.approx(b["loss"], 1e-4)
            assert a["top_1_accuracy"] == b["top_1_accuracy"]
    expected = final_arrays(tmp_path / "one")
    for name, value in final_arrays(tmp_path / "two").items():
        np.testing.assert_allclose(
            value, expected[name], rtol=0, atol=1e-5, err_msg=name
        )
    assert mistakes(tmp_path / "two") == mistakes(tmp_path / "one")
    # Only the chief speaks for the run.
    assert answer.stdout.count("top-1 accuracy") <= 2
    assert (tmp_path / "two" / "report.html").exists()
    profile = tmp_path / "two" / "tensorboard" / "plugins" / "profile"
    assert len(list(profile.glob("*/*.xplane.pb"))) == 1


def worker(launcher: subprocess.Popen, rank: int) -> psutil.Process:
    """The trainer process of a rank."""
    names = {"LOCKSTEP_INDEX": str(rank), "HOROVOD_RANK": str(rank)}
    for child in psutil.Process(launcher.pid).children(recursive=True):
        # Not the guardian of it, whose command contains the same.
        if child.cmdline()[1:3] == ["-m", "trainer.main"]:
            environment = child.environ()
            if any(environment.get(k) == v for k, v in names.items()):
                return child
    raise AssertionError("no such worker")


@pytest.mark.parametrize("engine", ENGINES)
def test_a_signal_to_one_worker_stops_all_at_the_same_step(
    engine: str, tmp_path
) -> None:
    long = 'train.duration = "60 steps"'
    whole = run(command(engine, tmp_path / "whole", long))
    assert whole.returncode == 0, whole.stderr[-5000:]

    stopped = tmp_path / "stopped"
    slow = "train.steps_per_loop = 1"
    launcher = subprocess.Popen(
        command(engine, stopped, long, slow),
        cwd=REPO,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + SECONDS
    while not (stopped / "checkpoints").exists():
        assert time.monotonic() < deadline and launcher.poll() is None
        time.sleep(0.01)
    # Not the chief: it must hear of it.
    worker(launcher, 1).send_signal(signal.SIGTERM)
    log = launcher.communicate(timeout=SECONDS)[1]
    assert launcher.returncode == 75, log[-5000:]
    assert not (stopped / "DONE").exists()

    again = run(command(engine, stopped, long))
    assert again.returncode == 0, again.stderr[-5000:]
    expected = final_arrays(tmp_path / "whole")
    for name, value in final_arrays(stopped).items():
        np.testing.assert_array_equal(value, expected[name], err_msg=name)


@pytest.mark.parametrize(
    ("engine", "rank"),
    [("multi_worker", "$LOCKSTEP_INDEX"), ("horovod", "$HOROVOD_RANK")],
)
def test_workers_with_different_configs(
    engine: str, rank: str, tmp_path
) -> None:
    arguments = command(engine, tmp_path / "run")
    start = arguments.index("--") + 1
    script = 'exec "$@" --gin_param=train.seed=' + rank
    answer = run(
        [*arguments[:start], "sh", "-c", script, "sh", *arguments[start:]]
    )
    assert answer.returncode == 2
    assert "Process 1 of 2 runs another training" in answer.stderr
    assert "train.seed: 0 -> 1" in answer.stderr
    assert not (tmp_path / "run").exists()
