"""A run that is killed ends as if nothing had been."""

import contextlib
import pathlib
import random
import signal
import subprocess
import sys
import time

import psutil
import pytest

from tests.trainer import killed, restarts
from tests.trainer.test_main import call, lines
from trainer import main

SAVES = (
    'train.duration="40 steps"',
    'train.checkpoint_every="10 steps"',
    'train.evaluate_every="10 steps"',
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> pathlib.Path:
    """A run that nothing has happened to."""
    model_dir = tmp_path_factory.mktemp("whole")
    assert call(main, *restarts.flags(model_dir, *SAVES)) == 0
    return model_dir


@pytest.mark.parametrize("stage", killed.STAGES)
def test_killed_at_a_stage_of_a_save(
    tmp_path, whole, stage: str, caplog
) -> None:
    flags = restarts.flags(tmp_path, *SAVES)
    # Each evaluation may save the best as well: the fourth is of a checkpoint
    # or of the best, after the first checkpoint in any case.
    restarts.run("tests.trainer.killed", stage, "4", *flags, code=-9)
    before = restarts.committed(tmp_path)
    assert before and before[-1] < 40
    with caplog.at_level("INFO", "absl"):
        assert call(main, *flags) == 0
    assert f"Going on from step {before[-1]} of 40" in caplog.text
    restarts.assert_same(whole, tmp_path)
    names = [p.name for p in tmp_path.glob("*/*") if ".tmp" in p.name]
    assert names == []


PHASES = (
    *SAVES,
    'train.checkpoint_every="5 steps"',
    "train.evaluate_every=None",
    "train.phases=[@head/phase(), @middle/phase(), @all/phase()]",
    'head/phase.duration="12 steps"',
    'head/phase.trainable="head"',
    'middle/phase.duration="8 steps"',
    'middle/phase.trainable="last 1 block"',
    "middle/phase.optimizer=@lamb()",
    "lamb.learning_rate=@cosine_schedule()",
    "cosine_schedule.peak=0.01",
)


@pytest.mark.long
def test_killed_in_any_phase(tmp_path) -> None:
    """In the first, where the second ends, and in the third."""
    whole = tmp_path / "whole"
    restarts.run("trainer.main", *restarts.flags(whole, *PHASES))
    for save, committed in ((3, 10), (5, 20), (7, 30)):
        broken = tmp_path / str(save)
        flags = restarts.flags(broken, *PHASES)
        stage = ("before commit", str(save))
        restarts.run("tests.trainer.killed", *stage, *flags, code=-9)
        assert restarts.committed(broken)[-1] == committed
        restarts.run("trainer.main", *flags)
        restarts.assert_same(whole, broken)


LONG = (
    # So many steps at a higher rate let activations outgrow float16.
    "constant_schedule.value=0.001",
    'train.duration="4000 steps"',
    'train.checkpoint_every="20 steps"',
    'train.evaluate_every="200 steps"',
    'train.log_every="100 steps"',
)


def _wait_for_news(model_dir: pathlib.Path, process: subprocess.Popen) -> None:
    """Returns once a trainer has saved something; or it has ended."""
    before = restarts.committed(model_dir)[-1:]
    restarts.wait_until(
        lambda: (
            process.poll() is not None
            or restarts.committed(model_dir)[-1:] != before
        )
    )


@pytest.mark.long
def test_a_hundred_kills_at_random_moments(tmp_path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    longer = (*LONG, 'train.duration="12000 steps"')
    restarts.run("trainer.main", *restarts.flags(whole, *longer))
    moments = random.Random(0)
    flags = restarts.flags(broken, *longer)
    for number in range(100):
        process = restarts.start(tmp_path / "log", "trainer.main", *flags)
        if number % 3:
            # Most often while it starts.
            time.sleep(moments.uniform(0.0, 5.0))
        else:
            _wait_for_news(broken, process)
            time.sleep(moments.uniform(0.0, 2.0))
        process.send_signal(signal.SIGKILL)
        process.wait()
    starts = {line["step"] for line in lines(broken, "run")} - {0}
    assert len(starts) >= 30, sorted(starts)
    # By now it may have ended; killing it again must not matter either.
    restarts.run("trainer.main", *flags)
    restarts.assert_same(whole, broken)


def _workers(launcher: subprocess.Popen) -> list[psutil.Process]:
    """Returns the workers of launch.local that are there."""
    if launcher.poll() is not None:
        return []
    found = []
    for process in psutil.Process(launcher.pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.cmdline()[1:3] == ["-m", "trainer.main"]:
                found.append(process)
    return found


@pytest.mark.long
def test_twenty_kills_of_one_of_two_workers(tmp_path) -> None:
    """The launcher brings both back, and they end with the same bits."""

    def launched(model_dir: pathlib.Path, *bindings: str) -> list[str]:
        own = (*LONG, *bindings, 'make_engine.name="multi_worker"')
        return [
            *("launch.local", "--workers=2", "--engine=multi_worker"),
            *("--max_restarts=20", "--", sys.executable, "-m", "trainer.main"),
            *restarts.flags(model_dir, *own),
        ]

    whole, broken = tmp_path / "whole", tmp_path / "broken"
    duration = 'train.duration="1500 steps"'
    restarts.run(*launched(whole, duration))
    moments, kills = random.Random(1), 0
    log = tmp_path / "log"
    launcher = restarts.start(log, *launched(broken, duration))
    while kills < 20 and launcher.poll() is None:
        restarts.wait_until(
            lambda: launcher.poll() is not None or _workers(launcher)
        )
        if kills % 3:
            # Most often while they start.
            time.sleep(moments.uniform(0.0, 5.0))
        else:
            # However fast the machine is, there is something left to kill.
            _wait_for_news(broken, launcher)
            time.sleep(moments.uniform(0.0, 1.0))
        if found := _workers(launcher):
            moments.choice(found).kill()
            kills += 1
    assert launcher.wait() == 0, log.read_text()[-3000:]
    assert kills >= 15
    restarts.assert_same(whole, broken)
