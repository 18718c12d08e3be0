"""trainer.main in several processes, as launch.local starts them."""

import dataclasses
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

SECONDS = 300
BINDINGS = (
    # Not at a multiple of the others: all must stop there, one writes.
    'train.profile = "3 steps at 7 steps"',
    'train.log_every = "5 steps"',
    'train.checkpoint_every = "10 steps"',
    'train.evaluate_every = "30 steps"',
    # Long enough to be stopped on the way.
    'train.duration = "60 steps"',
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


@pytest.fixture(scope="module")
def one_process(tmp_path_factory) -> pathlib.Path:
    """The run of a single process."""
    model_dir = tmp_path_factory.mktemp("one")
    one = [sys.executable, "-m", "trainer.main"]
    answer = run([*one, *tiny(model_dir, *BINDINGS)])
    assert answer.returncode == 0, answer.stderr[-3000:]
    return model_dir


@dataclasses.dataclass
class Whole:
    """The run of two processes, from its start to its end."""

    engine: str
    model_dir: pathlib.Path
    stdout: str


@pytest.fixture(scope="module", params=["multi_worker", "horovod"])
def two_processes(request, tmp_path_factory) -> Whole:
    model_dir = tmp_path_factory.mktemp(request.param)
    answer = run(command(request.param, model_dir))
    assert answer.returncode == 0, answer.stderr[-5000:]
    return Whole(request.param, model_dir, answer.stdout)


def test_two_processes_write_what_one_writes(
    one_process: pathlib.Path, two_processes: Whole
) -> None:
    two = two_processes.model_dir
    for kind, count in (("train", 12), ("eval", 2)):
        found = lines(two, kind)
        expected = lines(one_process, kind)
        assert len(found) == len(expected) == count
        for a, b in zip(found, expected, strict=True):
            assert a["loss"] == pytest.approx(b["loss"], 1e-4)
            assert a["top_1_accuracy"] == b["top_1_accuracy"]
    expected = final_arrays(one_process)
    for name, value in final_arrays(two).items():
        np.testing.assert_allclose(
            value, expected[name], rtol=0, atol=1e-5, err_msg=name
        )
    assert mistakes(two) == mistakes(one_process)
    # Only the chief speaks for the run.
    assert two_processes.stdout.count("top-1 accuracy") <= 2
    assert (two / "report.html").exists()
    profile = two / "tensorboard" / "plugins" / "profile"
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


def test_a_signal_to_one_worker_stops_all_at_the_same_step(
    two_processes: Whole, tmp_path
) -> None:
    stopped = tmp_path / "stopped"
    slow = "train.steps_per_loop = 1"
    launcher = subprocess.Popen(
        command(two_processes.engine, stopped, slow),
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

    again = run(command(two_processes.engine, stopped))
    assert again.returncode == 0, again.stderr[-5000:]
    expected = final_arrays(two_processes.model_dir)
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
