"""Every example exactly once an epoch, whoever is killed and whoever goes on.

Real processes: two workers, one, three, and again, each killed at some moment.
"""

import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import psutil
import pytest

from tests.conftest import REPO, write_dataset
from tests.trainer import recorded
from tests.trainer.test_main import final_arrays, lines, tiny

SIZES = (17, 9, 23, 12, 14, 25)
EXAMPLES, BATCH = sum(SIZES), 12
WORKERS = (2, 1, 3)
SECONDS = 240


def command(place: pathlib.Path, name: str, workers: int, steps: int):
    engine = "multi_worker" if workers > 1 else "one_device"
    launcher = (
        *(sys.executable, "-m", "launch.local", f"--workers={workers}"),
        *("--engine=multi_worker", "--grace=1", "--"),
    )
    return [
        *(launcher if workers > 1 else ()),
        *(sys.executable, "-m", "tests.trainer.recorded"),
        *tiny(
            place / name,
            "SOURCE = @tfrecords()",
            f'tfrecords.data_dir = "{place}/data"',
            # Several groups of shards: seeking leaves some out.
            "train_data.shuffle_bytes = 9000",
            'train_data.shard_by = "record"',
            f'make_engine.name = "{engine}"',
            "train.eval_data = None",
            f"train.global_batch_size = {BATCH}",
            f'train.duration = "{steps} steps"',
            'train.checkpoint_every = "7 steps"',
            'train.log_every = "10 steps"',
            "train.steps_per_loop = 4",
            "train.deterministic = True",
        ),
    ]


def start(
    place: pathlib.Path, name: str, run: int, workers: int, steps: int
) -> subprocess.Popen:
    (place / f"{name}-ids").mkdir(exist_ok=True)
    log = (place / f"{name}-{run}.log").open("w")
    return subprocess.Popen(
        command(place, name, workers, steps),
        cwd=REPO,
        env=os.environ
        | {"RECORD_TO": str(place / f"{name}-ids"), "RECORD_RUN": str(run)},
        stdout=log,
        stderr=subprocess.STDOUT,
    )


def finish(process: subprocess.Popen, log: pathlib.Path) -> None:
    code = process.wait(SECONDS)
    assert code == 0, log.read_text()[-5000:]


def kill(process: subprocess.Popen, workers: int, choose: random.Random):
    """Kills the trainer, or one worker: the launcher ends the others."""
    victims = [process.pid]
    if workers > 1:
        children = psutil.Process(process.pid).children(recursive=True)
        victims = [
            child.pid
            for child in children
            if child.cmdline()[1:3] == ["-m", "tests.trainer.recorded"]
        ]
        assert len(victims) == workers
    os.kill(choose.choice(victims), signal.SIGKILL)
    assert process.wait(SECONDS) != 0


def interrupted(place: pathlib.Path, restarts: int, steps: int) -> None:
    """Trains with as many kills, at moments that a seed chooses."""
    choose = random.Random(restarts)
    at = sorted(choose.sample(range(5, steps - 12), restarts))
    for run, target in enumerate(at):
        workers = WORKERS[run % len(WORKERS)]
        process = start(place, "broken", run, workers, steps)
        deadline = time.monotonic() + SECONDS
        while max(recorded.read(place / "broken-ids", run), default=0) < target:
            assert process.poll() is None, (
                place / f"broken-{run}.log"
            ).read_text()[-5000:]
            assert time.monotonic() < deadline
            time.sleep(0.005)
        time.sleep(choose.uniform(0, 4 * recorded.PAUSE))
        kill(process, workers, choose)
    last = WORKERS[restarts % len(WORKERS)]
    finish(
        start(place, "broken", restarts, last, steps),
        place / f"broken-{restarts}.log",
    )


def check(place: pathlib.Path, restarts: int, steps: int) -> None:
    """Holds the interrupted run against one that was left alone."""
    finish(start(place, "whole", 0, 1, steps), place / "whole-0.log")
    whole = {
        step: sum(ids, [])
        for step, ids in recorded.read(place / "whole-ids", 0).items()
    }
    assert sorted(whole) == list(range(steps))

    twice = 0
    seen: dict[int, list[int]] = {}
    for run in range(restarts + 1):
        workers = WORKERS[run % len(WORKERS)]
        for step, ids in recorded.read(place / "broken-ids", run).items():
            if len(ids) < workers:
                continue  # Killed before all had taken the step.
            batch = sum(ids, [])
            assert batch == whole[step], (run, step)
            twice += step in seen
            seen[step] = batch
    assert sorted(seen) == list(range(steps))
    starts = [line["step"] for line in lines(place / "broken", "run")]
    assert len(starts) == restarts + 1
    assert starts == sorted(starts) and all(s % 7 == 0 for s in starts)
    # What came after the last checkpoint was lost with those who were killed;
    # one or two of them may have been killed right after one.
    assert twice or restarts < 5

    flat = sum((seen[step] for step in range(steps)), [])
    epochs = len(flat) // EXAMPLES
    assert epochs >= 3
    for epoch in range(epochs):
        part = flat[epoch * EXAMPLES : (epoch + 1) * EXAMPLES]
        assert sorted(part) == list(range(EXAMPLES)), epoch
    # The weights differ as sums do that are made in another order.
    expected = final_arrays(place / "whole")
    for name, value in final_arrays(place / "broken").items():
        assert value == pytest.approx(expected[name], rel=0, abs=1e-4), name


@pytest.mark.long
def test_every_example_once_an_epoch(tmp_path: pathlib.Path) -> None:
    """Ten restarts, with two workers, one and three in turn."""
    restarts, steps = 10, 160
    write_dataset(tmp_path / "data", SIZES)
    interrupted(tmp_path, restarts, steps)
    check(tmp_path, restarts, steps)
