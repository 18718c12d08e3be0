"""Jobs of two tasks, submitted by launch/slurm.sh to a real Slurm."""

import importlib.util
import json
import pathlib
import re
import subprocess
import sys
import textwrap
import time

import pytest

from tests.conftest import REPO
from tests.launch.conftest import AWKWARD, SECONDS

pytestmark = pytest.mark.long

# Stands for Python: launch.task is the real one, trainer.main is PROGRAM.
PYTHON = """\
#!/bin/bash
[ "$2" = launch.task ] || set -- {program} "$@"
exec {python} "$@"
"""
PROGRAM = """\
import json, os, pathlib, signal, sys, time

restarts = int(os.environ.get("SLURM_RESTART_COUNT", "0"))
index = os.environ["LOCKSTEP_INDEX"]
name = f"started-{restarts}-{index}.json"
text = json.dumps([sys.argv[1:], os.environ["LOCKSTEP_WORKERS"]])
pathlib.Path(name + "~").write_text(text)
os.rename(name + "~", name)

def stop(number, frame):
    print(f"task {index} got", signal.Signals(number).name, flush=True)
    sys.exit(75)

"""
RUN_UNTIL_TOLD = """
for name in ("SIGTERM", "SIGUSR1"):
    signal.signal(getattr(signal, name), stop)
time.sleep(100 if restarts == 0 else 0)
"""


class Cluster:
    """The cluster as a user sees it from a folder."""

    def __init__(self, variables: dict[str, str], folder: pathlib.Path) -> None:
        self.variables = variables
        self.folder = folder
        self.job = ""

    def call(self, *command: str | pathlib.Path) -> str:
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self.variables,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            timeout=SECONDS,
        ).stdout

    def submit(self, *flags: str) -> None:
        printed = self.call(REPO / "launch" / "slurm.sh", *flags)
        self.job = re.fullmatch(r"Submitted batch job (\d+)\n", printed)[1]

    def submit_program(self, code: str, *flags: str) -> None:
        """Submits two tasks of a program in place of the training."""
        program, python = self.folder / "program.py", self.folder / "python"
        program.write_text(PROGRAM + textwrap.dedent(code))
        python.write_text(PYTHON.format(program=program, python=sys.executable))
        python.chmod(0o755)
        self.submit(
            *("--tasks_per_node=2", "--gin_file=F", "--model_dir=D"),
            *(f"--python={python}", *flags),
        )

    def state(self) -> dict[str, str]:
        words = self.call("scontrol", "show", "job", self.job).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def wait(self) -> dict[str, str]:
        """Waits for the end of the job and returns what Slurm says of it."""
        deadline = time.monotonic() + SECONDS
        while (state := self.state())["JobState"] in (
            *("PENDING", "CONFIGURING", "RUNNING", "SIGNALING", "COMPLETING"),
        ):
            assert time.monotonic() < deadline, f"{state}\n{self.log()}"
            time.sleep(0.2)
        return state

    def wait_for(self, name: str) -> None:
        deadline = time.monotonic() + SECONDS
        while not (self.folder / name).exists():
            assert time.monotonic() < deadline, f"{name}\n{self.log()}"
            time.sleep(0.1)

    def log(self) -> str:
        (path,) = self.folder.glob(f"*-{self.job}.log")
        return path.read_text()


@pytest.fixture
def cluster(slurm, tmp_path: pathlib.Path):
    """A cluster whose job ends with the test."""
    found = Cluster(slurm, tmp_path)
    yield found
    if found.job:
        found.call("scancel", "--quiet", found.job)


def test_two_tasks(cluster: Cluster) -> None:
    cluster.submit_program("print('hello', index)", "--", *AWKWARD)
    state = cluster.wait()
    assert state["JobState"] == "COMPLETED"
    assert state["ExitCode"] == "0:0"
    workers = set()
    for index in range(2):
        text = (cluster.folder / f"started-0-{index}.json").read_text()
        arguments, addresses = json.loads(text)
        assert arguments == [
            *("-m", "trainer.main", "--gin_file=F", "--model_dir=D"),
            '--gin_param=make_engine.name="multi_worker"',
            *AWKWARD,
        ]
        workers.add(addresses)
    (addresses,) = workers
    assert re.fullmatch(r"localhost:(\d+),localhost:(\d+)", addresses)
    assert sorted(cluster.log().splitlines()) == ["0: hello 0", "1: hello 1"]


def test_75_is_requeued_until_it_is_done(cluster: Cluster) -> None:
    cluster.submit_program("sys.exit(75 if restarts < 2 else 0)")
    state = cluster.wait()
    assert (state["JobState"], state["Restarts"]) == ("COMPLETED", "2")
    assert (cluster.folder / "started-2-1.json").exists()
    # One log for all stretches.
    assert cluster.log().count("requeued to go on") == 2


def test_requeues_are_counted(cluster: Cluster) -> None:
    cluster.submit_program("sys.exit(75)", "--max_requeues=1")
    state = cluster.wait()
    assert (state["JobState"], state["Restarts"]) == ("FAILED", "1")
    assert state["ExitCode"] == "75:0"
    assert "after --max_requeues=1. Submit the job again" in cluster.log()


@pytest.mark.parametrize("code", [1, 2, 3])
def test_other_codes_end_the_job(cluster: Cluster, code: int) -> None:
    cluster.submit_program(f"sys.exit({code})")
    state = cluster.wait()
    assert (state["JobState"], state["Restarts"]) == ("FAILED", "0")
    assert state["ExitCode"] == f"{code}:0"


def test_all_tasks_are_told_before_the_time_limit(cluster: Cluster) -> None:
    """A minute is the shortest limit; Slurm looks at it every few seconds."""
    cluster.submit_program(RUN_UNTIL_TOLD, "--time=1", "--signal=30")
    state = cluster.wait()
    for index in range(2):
        assert f"{index}: task {index} got SIGUSR1" in cluster.log()
    assert "SIGTERM" not in cluster.log()
    # It went on in a second stretch and ended there.
    assert (state["JobState"], state["Restarts"]) == ("COMPLETED", "1")


def test_a_task_that_is_told_before_it_can_listen(cluster: Cluster) -> None:
    cluster.submit_program("time.sleep(100 if restarts == 0 else 0)")
    cluster.wait_for("started-0-0.json")
    cluster.wait_for("started-0-1.json")
    # As --signal does it: to the tasks, not to the batch script.
    cluster.call("scancel", "--signal=USR1", cluster.job)
    state = cluster.wait()
    assert (state["JobState"], state["Restarts"]) == ("COMPLETED", "1")
    assert "Stopped with code 138; requeued to go on." in cluster.log()


def test_a_cancelled_job_stays_so(cluster: Cluster) -> None:
    """Though its tasks save a checkpoint and end with 75."""
    cluster.submit_program(RUN_UNTIL_TOLD)
    cluster.wait_for("started-0-0.json")
    cluster.wait_for("started-0-1.json")
    time.sleep(0.5)
    cluster.call("scancel", cluster.job)
    state = cluster.wait()
    assert (state["JobState"], state["Restarts"]) == ("CANCELLED", "0")
    assert cluster.log().count("got SIGTERM") == 2
    assert "not requeued: the job is COMPLETING" in cluster.log()


def test_a_job_that_slurm_requeues(cluster: Cluster) -> None:
    """As it does for a job of higher priority, or for maintenance."""
    cluster.submit_program(RUN_UNTIL_TOLD)
    cluster.wait_for("started-0-0.json")
    cluster.wait_for("started-0-1.json")
    time.sleep(0.5)
    cluster.call("scontrol", "requeue", cluster.job)
    state = cluster.wait()
    assert (state["JobState"], state["Restarts"]) == ("COMPLETED", "1")
    assert cluster.log().count("got SIGTERM") == 2


def test_a_failed_task_takes_the_others_along(cluster: Cluster) -> None:
    cluster.submit_program(
        "if index == '1': sys.exit(1)\ntime.sleep(100)", "--exit_wait=2"
    )
    state = cluster.wait()
    assert state["JobState"] == "FAILED"
    assert state["Restarts"] == "0"


def check_run(run: pathlib.Path, engine: str, steps: int) -> None:
    described = json.loads((run / "run.json").read_text())
    assert described["engine"] == engine
    assert described["num_replicas"] == 2
    assert json.loads((run / "DONE").read_text()) == {"step": steps}


def test_a_real_training_goes_on_after_the_signal(cluster: Cluster) -> None:
    cluster.submit(
        *("--tasks_per_node=2", "--model_dir=my run", "--name=tiny"),
        *(f"--gin_file={REPO}/tests/tiny.gin", f"--python={sys.executable}"),
        *("--", '--gin_param=train.duration="600 steps"'),
        '--gin_param=train.checkpoint_every="50 steps"',
        '--gin_param=train.evaluate_every="600 steps"',
    )
    run = cluster.folder / "my run"
    deadline = time.monotonic() + SECONDS
    while not list(run.glob("checkpoints/step-*")):
        assert time.monotonic() < deadline, cluster.log()
        time.sleep(0.1)
    cluster.call("scancel", "--signal=USR1", cluster.job)
    state = cluster.wait()
    assert state["JobState"] == "COMPLETED", cluster.log()
    assert state["Restarts"] == "1"
    assert "Stopped with code 75; requeued to go on." in cluster.log()
    check_run(run, "multi_worker", 600)


def test_a_real_training_over_horovod(cluster: Cluster) -> None:
    if not importlib.util.find_spec("horovod"):
        pytest.skip("needs Horovod: python -m launch.install_horovod")
    cluster.submit(
        *("--tasks_per_node=2", "--model_dir=run", "--engine=horovod"),
        *(f"--gin_file={REPO}/tests/tiny.gin", f"--python={sys.executable}"),
        *("--", '--gin_param=train.duration="10 steps"'),
    )
    state = cluster.wait()
    assert state["JobState"] == "COMPLETED", cluster.log()
    check_run(cluster.folder / "run", "horovod", 10)
