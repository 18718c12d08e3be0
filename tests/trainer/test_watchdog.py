"""A process that hangs ends, says where, and is started again."""

import dataclasses
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
import types

import numpy as np
import pytest

from tests.conftest import REPO, make_recipe
from tests.trainer.test_main import final_arrays, lines, tiny
from tests.trainer.test_workers import worker
from trainer import errors, evaluation, loop, watchdog

SECONDS = 300


def test_time_without_a_beat_is_added_up() -> None:
    patience = watchdog.Patience(1.0, now=100.0)
    assert patience.tick(0, 101.0) == 1.0
    assert patience.tick(0, 102.5) == 2.5
    assert patience.tick(1, 103.5) == 0.0
    assert patience.tick(1, 104.5) == 1.0
    assert patience.tick(3, 105.5) == 0.0


def test_time_in_which_the_process_was_suspended_does_not_count() -> None:
    patience = watchdog.Patience(1.0, now=0.0)
    assert patience.tick(0, 1.0) == 1.0
    # An hour's sleep counts for two periods.
    assert patience.tick(0, 3601.0) == 3.0
    assert patience.tick(0, 3602.0) == 4.0


class Counting(watchdog.Watchdog):
    def __init__(self) -> None:
        super().__init__(None)
        self.log: list = []

    def beat(self, step: int | None = None) -> None:
        self.log.append(step)


def test_actions_beat_before_and_after() -> None:
    watch = Counting()
    latest = types.SimpleNamespace(step=7)
    plan = [(loop.always, lambda _: watch.log.append("saved"))]
    ((trigger, action),) = watch.actions(plan)
    # The loop knows `always` by identity.
    assert trigger is loop.always
    action(latest)
    assert watch.log == [7, "saved", 7]


def test_evaluation_beats_at_each_batch() -> None:
    watch = Counting()
    inner = evaluation.Evaluator(
        data=None,
        engine=None,
        batches=(),
        predict=lambda batch: watch.log.append("batch") or 2 * batch,
        global_batch_size=1,
        num_classes=2,
        metric_set=None,
        loss=None,
    )
    predict = watch.evaluator(inner).predict
    assert [predict(3), predict(4)] == [6, 8]
    assert watch.log == ["batch", None, "batch", None]


def names() -> list[str]:
    return [thread.name for thread in threading.enumerate()]


def test_the_thread_lasts_as_long_as_the_context() -> None:
    with watchdog.Watchdog(1000.0):
        (thread,) = [t for t in threading.enumerate() if t.name == "watchdog"]
    thread.join(SECONDS)
    assert not thread.is_alive()
    with watchdog.Watchdog(None):
        assert "watchdog" not in names()


HANG = """
import os, sys, threading, time
from trainer import watchdog

def hang_here():
    threading.Event().wait()

{before}
with watchdog.Watchdog(0.3) as watch:
    watch.beat(41)
    threading.Thread(target=hang_here, daemon=True).start()
    time.sleep(10_000)
"""


def hang(before: str = "") -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", HANG.format(before=before)],
        cwd=REPO,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_process_that_hangs_ends_with_the_stacks_of_its_threads() -> None:
    process = hang()
    log = process.communicate(timeout=SECONDS)[1]
    assert process.returncode == 1
    assert "no progress after step 41 for 0.3 s (train.hang_timeout)" in log
    assert "raise train.hang_timeout" in log
    assert "in hang_here" in log
    assert 'File "<string>", line 12 in <module>' in log


def test_a_process_whose_log_nobody_reads_ends_too() -> None:
    fill = """
os.set_blocking(2, False)
try:
    while True:
        os.write(2, bytes(4096))
except BlockingIOError:
    os.set_blocking(2, True)
"""
    process = hang(fill)
    # Its stderr is full, and stays so.
    assert process.wait(SECONDS) == 1


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_a_timeout_out_of_range(value: float) -> None:
    with pytest.raises(errors.ConfigError, match="None to wait for ever"):
        dataclasses.replace(make_recipe(), hang_timeout=value)


BINDINGS = (
    'train.duration = "300 steps"',
    'train.checkpoint_every = "10 steps"',
    'train.evaluate_every = "100 steps"',
    "train.steps_per_loop = 1",
    "train.deterministic = True",
)


def train(
    engine: str, model_dir: pathlib.Path, *bindings: str
) -> subprocess.Popen:
    launcher = [sys.executable, "-m", "launch.local", "--workers=2"]
    launcher += [f"--engine={engine}", "--max_restarts=1", "--grace=2", "--"]
    bindings = (*BINDINGS, f'make_engine.name = "{engine}"', *bindings)
    trainer = [sys.executable, "-m", "trainer.main"]
    return subprocess.Popen(
        [*launcher, *trainer, *tiny(model_dir, *bindings)],
        cwd=REPO,
        # Gloo itself would give up after 30 s.
        env=os.environ | {"HOROVOD_GLOO_TIMEOUT_SECONDS": "300"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.long
@pytest.mark.parametrize("engine", ["multi_worker", "horovod"])
def test_a_stopped_or_killed_worker_is_brought_back(
    engine: str, tmp_path
) -> None:
    whole = train(engine, tmp_path / "whole")
    log = whole.communicate(timeout=SECONDS)[1]
    assert whole.returncode == 0, log[-5000:]
    expected = final_arrays(tmp_path / "whole")

    # With the default, half an hour, the test would not end.
    timeouts = {signal.SIGSTOP: 30.0, signal.SIGKILL: 1800.0}
    for number, timeout in timeouts.items():
        run = tmp_path / number.name
        launcher = train(engine, run, f"train.hang_timeout = {timeout}")
        deadline = time.monotonic() + SECONDS
        while not (run / "checkpoints" / "step-000000010").exists():
            assert time.monotonic() < deadline and launcher.poll() is None
            time.sleep(0.01)
        struck = worker(launcher, 1)
        struck.send_signal(number)
        log = launcher.communicate(timeout=SECONDS)[1]
        assert launcher.returncode == 0, log[-5000:]
        assert not struck.is_running()
        assert "restart 1 of 1" in log
        hung = "for 30 s (train.hang_timeout)" in log
        # TensorFlow asks its workers every 30 s, and may be the first to know.
        if engine == "horovod":
            assert hung == (number is signal.SIGSTOP)
        if hung:
            assert "worker 0 failed with exit code 1" in log
            assert "Thread 0x" in log
        starts = [line["step"] for line in lines(run, "run")]
        assert len(starts) == 2 and 10 <= starts[1] < 300
        for name, value in final_arrays(run).items():
            np.testing.assert_array_equal(value, expected[name], err_msg=name)
