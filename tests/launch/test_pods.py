"""The containers of launch/kubernetes.sh on two hosts of their own.

Each host is a network namespace with an address and the names that the headless
Service would give; the commands and variables are those of the Job.
"""

import dataclasses
import importlib.util
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from shutil import which

import pytest
import yaml

from tests.conftest import REPO
from tests.launch.conftest import SECONDS, Bench, clean_environment

pytestmark = pytest.mark.long

HOSTS = "127.0.0.1 localhost\n10.77.0.1 run-0.run\n10.77.0.2 run-1.run\n"
NAMESPACES = pathlib.Path("/etc/netns")


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, timeout=SECONDS)


@pytest.fixture
def hosts() -> Iterator[list[str]]:
    """Two network namespaces, joined by a cable."""
    if not which("ip") or os.geteuid():
        pytest.skip("needs network namespaces: root, and Debian's iproute2")
    names = [f"lockstep-{os.getpid()}-{i}" for i in range(2)]
    try:
        for name in names:
            ip("netns", "add", name)
            (NAMESPACES / name).mkdir(parents=True)
        ip(
            *("link", "add", "eth0", "netns", names[0], "type", "veth"),
            *("peer", "name", "eth0", "netns", names[1]),
        )
        for i, name in enumerate(names):
            address, other = f"10.77.0.{i + 1}/24", f"10.77.0.{2 - i}"
            # Kubernetes lets a pod find itself by its own name.
            own = f"10.77.0.{i + 1} {socket.gethostname()}\n"
            (NAMESPACES / name / "hosts").write_text(HOSTS + own)
            ip("-n", name, "address", "add", address, "dev", "eth0")
            ip("-n", name, "link", "set", "lo", "up")
            ip("-n", name, "link", "set", "eth0", "up")
            ip("-n", name, "route", "add", "default", "via", other)
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], timeout=SECONDS)
            (NAMESPACES / name / "hosts").unlink(missing_ok=True)
            (NAMESPACES / name).rmdir()


@dataclasses.dataclass
class Job:
    """The pods of a Job, run by hand.

    Attributes:
        command: What the container runs.
        variables: Its environment, without the index.
        hosts: A network namespace for each pod.
        folder: Where the logs go.
    """

    command: list[str]
    variables: dict[str, str]
    hosts: list[str]
    folder: pathlib.Path
    pods: list[subprocess.Popen] = dataclasses.field(default_factory=list)

    def start(self) -> None:
        self.pods = []
        for index, host in enumerate(self.hosts):
            environment = clean_environment() | self.variables
            environment |= {"JOB_COMPLETION_INDEX": str(index)}
            with open(self.folder / f"{index}.log", "a") as log:
                # `ip netns exec` becomes the command.
                self.pods.append(
                    subprocess.Popen(
                        ["ip", "netns", "exec", host, *self.command],
                        env=environment,
                        cwd=REPO,
                        stdout=log,
                        stderr=log,
                    )
                )

    def wait(self) -> list[int]:
        return [pod.wait(SECONDS) for pod in self.pods]

    def logs(self) -> str:
        paths = sorted(self.folder.glob("*.log"))
        return "\n\n".join(path.read_text()[-3000:] for path in paths)


@pytest.fixture
def job(bench: Bench, hosts: list[str], request) -> Iterator[Job]:
    """A Job of two workers of an engine, with a training of 300 steps."""
    folder = bench.folder
    shown = bench.run(
        *("launch/kubernetes.sh", "--print", "--image=I", "--name=run"),
        *("--workers=2", "--gpus=0", f"--engine={request.param}"),
        *("--pvc=runs", f"--mount={folder}", f"--model_dir={folder}/run"),
        *("--gin_file=tests/tiny.gin", f"--python={sys.executable}"),
        *("--", '--gin_param=train.duration="300 steps"'),
        '--gin_param=train.checkpoint_every="50 steps"',
        '--gin_param=train.evaluate_every="300 steps"',
    )
    _, training, _ = yaml.safe_load_all(shown.stdout)
    (only,) = training["spec"]["template"]["spec"]["containers"]
    variables = {e["name"]: e["value"] for e in only["env"]}
    found = Job(only["command"], variables, hosts, folder)
    yield found
    for pod in found.pods:
        pod.kill()
        pod.wait()


@pytest.mark.parametrize("job", ["multi_worker", "horovod"], indirect=True)
def test_an_evicted_pod_comes_back(job: Job) -> None:
    if "horovod" in job.command[3] and not importlib.util.find_spec("horovod"):
        pytest.skip("needs Horovod: python -m launch.install_horovod")
    job.start()
    checkpoints = job.folder / "run" / "checkpoints"
    deadline = time.monotonic() + SECONDS
    while not list(checkpoints.glob("step-*")):
        assert time.monotonic() < deadline, job.logs()
        assert all(pod.poll() is None for pod in job.pods), job.logs()
        time.sleep(0.1)
    # One pod is told to go; all stop, and the Job starts all again.
    job.pods[1].send_signal(signal.SIGTERM)
    assert job.wait() == [75, 75], job.logs()
    job.start()
    assert job.wait() == [0, 0], job.logs()
    run = job.folder / "run"
    assert json.loads((run / "DONE").read_text()) == {"step": 300}
    assert json.loads((run / "run.json").read_text())["num_replicas"] == 2
