"""Trainings whose batches are made by other processes, which may die."""

import json
import os
import pathlib
import re
import subprocess
import sys
import time

import psutil
import pytest

from tests.conftest import REPO

SECONDS = 280
TRAIN = [
    *[sys.executable, "-m", "trainer.main", "--gin_file=tests/tiny.gin"],
    "--gin_param=train_data.service='auto'",
    "--gin_param=train.duration='600 steps'",
    "--gin_param=train.steps_per_loop=10",
    "--gin_param=train.log_every='10 steps'",
    "--gin_param=train.checkpoint_every='30 steps'",
    "--gin_param=train.evaluate_every='1000 steps'",
    "--gin_param=train.deterministic=True",
]


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(REPO)}


def lines(model_dir: pathlib.Path) -> list[dict]:
    path = model_dir / "metrics.jsonl"
    if not path.exists():
        return []
    # The last line may be half written.
    whole = path.read_text().rpartition("\n")[0].splitlines()
    return [json.loads(line) for line in whole]


def results(model_dir: pathlib.Path) -> dict[int, tuple[float, ...]]:
    """What was computed at each step, the last time."""
    keys = ("loss", "top_1_accuracy", "gradient_norm")
    return {
        line["step"]: tuple(line[key] for key in keys)
        for line in lines(model_dir)
        if line["kind"] == "train"
    }


def kill_a_server(launcher: psutil.Process) -> None:
    """Kills one of the data servers, with SIGKILL."""
    servers = [
        process
        for process in launcher.children(recursive=True)
        if "launch.data_service" in process.cmdline()
    ]
    assert len(servers) == 2
    servers[1].kill()


@pytest.mark.long
def test_a_server_that_is_killed_changes_nothing(
    tmp_path: pathlib.Path,
) -> None:
    alone = tmp_path / "alone"
    subprocess.run(
        [*TRAIN, f"--model_dir={alone}"],
        cwd=REPO,
        env=environment(),
        check=True,
        timeout=SECONDS,
        capture_output=True,
    )
    served = tmp_path / "served"
    with subprocess.Popen(
        [
            *[sys.executable, "-m", "launch.local"],
            *["--data_service=2", "--max_restarts=1", "--grace=1", "--"],
            *[*TRAIN, f"--model_dir={served}"],
        ],
        cwd=REPO,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as launcher:
        deadline = time.monotonic() + SECONDS
        while not list(served.glob("checkpoints/step-*")):
            assert launcher.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        kill_a_server(psutil.Process(launcher.pid))
        assert launcher.stdout is not None
        output = launcher.stdout.read()
    assert launcher.returncode == 0, output[-3000:]
    assert re.search(r"data server [01] was killed by SIGKILL", output)
    assert "restart 1 of 1." in output
    assert "Batches come from grpc://127.0.0.1:" in output
    assert [e["step"] for e in lines(served) if e["kind"] == "run"][1] >= 30
    assert results(served) == results(alone)
    assert len(results(alone)) == 60
