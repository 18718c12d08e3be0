"""launch/tpu_vm.sh: the gcloud commands, and what they do on a worker.

A fake gcloud stands for the TPU VM: what it should run there by ssh, it runs in
a folder of this machine, the way gcloud and ssh hand it to a worker's shell.
"""

import json
import os
import pathlib
import re
import signal
import sys
import time
from shutil import which

import pytest
from packaging import specifiers

from tests.conftest import REPO
from tests.launch.conftest import AWKWARD, SECONDS, Bench

TPU = ["gcloud", "compute", "tpus", "tpu-vm"]
ON = ["--name=tpu1", "--zone=us-west4-a"]
RUN = ["--gin_file=gin/digits.gin", "--model_dir=gs://b/my run"]
# gcloud splits at blanks, ssh joins with blanks, the worker's shell does the
# rest; scp copies to the home folder.
GCLOUD = """
import shutil, subprocess
home = os.environ["WORKER"]
name, zone, worker = "tpu1", "--zone=us-west4-a", "--worker=all"
verb = sys.argv[4]
if verb == "ssh":
    (command,) = [a for a in sys.argv if a.startswith("--command=")]
    code = " ".join(command.removeprefix("--command=").split(" "))
    sys.exit(subprocess.run(["bash", "-c", code], cwd=home).returncode)
if verb == "scp":
    shutil.copy(sys.argv[5], home)
if verb == "describe":
    print("READY")
"""
# Stands for the Python of the worker.
TRAIN = """\
#!{python}
import json, os, pathlib, signal, sys, time
if sys.argv[1] == "-c":
    print("/venv/libtpu.so" if "libtpu" in sys.argv[2] else "?")
    sys.exit()
def stop(number, frame):
    print("saved", flush=True)
    sys.exit(75)
signal.signal(signal.SIGTERM, stop)
names = ("TPU_NAME", "TPU_LOAD_LIBRARY", "TF_PLUGGABLE_DEVICE_LIBRARY_PATH")
tpu = [os.environ.get(name) for name in names]
pathlib.Path("given.json").write_text(json.dumps([sys.argv[1:], tpu]))
print("training", flush=True)
for _ in range(600):
    time.sleep(0.05)
"""


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ["create", "--type=v5litepod-16"],
            [*TPU, "create", "tpu1", "--zone=us-west4-a"]
            + ["--accelerator-type=v5litepod-16"]
            + ["--version=tpu-ubuntu2204-base"],
        ),
        (
            ["create", "--type=v4-8", "--version=v2", "--spot"]
            + ["--project=my-project"],
            [*TPU, "create", "tpu1", "--zone=us-west4-a"]
            + ["--project=my-project", "--accelerator-type=v4-8"]
            + ["--version=v2", "--spot"],
        ),
        (
            ["create", "--type=v4-8", "--queued", "--spot"],
            ["gcloud", "compute", "tpus", "queued-resources", "create"]
            + ["tpu1", "--zone=us-west4-a", "--node-id=tpu1"]
            + ["--accelerator-type=v4-8"]
            + ["--runtime-version=tpu-ubuntu2204-base", "--spot"],
        ),
        (["delete"], [*TPU, "delete", "tpu1", "--zone=us-west4-a"]),
        (
            ["delete", "--queued"],
            ["gcloud", "compute", "tpus", "queued-resources", "delete"]
            + ["tpu1", "--zone=us-west4-a", "--force"],
        ),
        (
            ["logs", "--lines=9", "--follow"],
            [*TPU, "ssh", "tpu1", "--zone=us-west4-a", "--worker=0"]
            + ["--command=tail --lines=9 --follow lockstep/train.log"],
        ),
    ],
)
def test_gcloud_is_called_with(bench: Bench, arguments, expected) -> None:
    action, *flags = arguments
    bench.fake("gcloud")
    command = ["launch/tpu_vm.sh", action, *ON, *flags]
    assert bench.run(*command).returncode == 0
    (call,) = bench.calls()
    assert ["gcloud", *call.arguments] == expected


ACTIONS = "create copy setup run logs status stop delete".split()


@pytest.mark.parametrize("action", ACTIONS)
def test_print_shows_what_would_be_called(bench: Bench, action: str) -> None:
    for tool in ("gcloud", "tar", "mkdir"):
        bench.fake(tool)
    command = ["launch/tpu_vm.sh", action, *ON, *RUN, "--type=v4-8"]
    shown = bench.run(*command, "--print", "--", *AWKWARD)
    assert shown.returncode == 0
    assert bench.calls() == []
    bench.run(*command, "--", *AWKWARD)
    called = bench.calls()
    assert called
    bench.log.unlink()
    bench.run("bash", "-c", shown.stdout)
    assert bench.calls() == called


@pytest.mark.skipif(not which("gcloud"), reason="needs gcloud")
def test_gcloud_itself_knows_the_flags(bench: Bench) -> None:
    """gcloud reads our commands, and runs none of them."""
    calls = [[action] for action in ACTIONS]
    calls += [["create", "--queued", "--spot"], ["delete", "--queued"]]
    commands = ["gcloud compute tpus tpu-vm delete tpu1 --colour=red"]
    for action, *flags in calls:
        flags += [*ON, *RUN, "--type=v4-8", "--project=p", "--print"]
        shown = bench.run("launch/tpu_vm.sh", action, *flags).stdout
        lines = shown.splitlines()
        commands += [line for line in lines if line.startswith("gcloud ")]
    file = bench.folder / "commands.json"
    file.write_text(json.dumps([{"command_string": c} for c in commands]))
    answer = bench.run(
        *("gcloud", "meta", "lint-gcloud-commands", f"--commands-file={file}"),
        CLOUDSDK_CONFIG=str(bench.folder / "gcloud"),
    )
    wrong, *ours = json.loads(answer.stdout)
    assert "unrecognized arguments: --colour" in wrong["error_message"]
    assert len(ours) == 12
    problems = [found["error_message"] for found in ours]
    assert problems == 12 * [None]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["dance"], "'dance' is not an action. Write one of: create copy"),
        (["--name=tpu1"], "is not an action"),
        (["status"], "--name is missing"),
        (["status", "--name=tpu1"], "--zone is missing"),
        (["create", *ON], "--type is missing. Write, say, --type=v5litepod-8"),
        (["run", *ON], "--gin_file is missing"),
        (["run", *ON, "--gin_file=F"], "--model_dir is missing"),
        (["logs", *ON, "--lines=all"], "--lines=all must be a whole number"),
    ],
)
def test_wrong_calls(bench: Bench, arguments, message: str) -> None:
    bench.fake("gcloud")
    answer = bench.run("launch/tpu_vm.sh", *arguments)
    assert answer.returncode == 2
    assert message in answer.stderr
    assert bench.calls() == []


def test_gcloud_that_fails_ends_the_script(bench: Bench) -> None:
    bench.fake("gcloud", "sys.exit('ERROR: no quota')")
    answer = bench.run("launch/tpu_vm.sh", "status", *ON)
    assert answer.returncode == 1
    assert len(bench.calls()) == 1


def test_setup_puts_tensorflow_for_tpus_in_place_of_the_usual(
    bench: Bench,
) -> None:
    bench.fake("gcloud")
    assert bench.run("launch/tpu_vm.sh", "setup", *ON).returncode == 0
    (call,) = bench.calls()
    code = call.arguments[-1]
    steps = (
        "pip install '.[tpu]'",
        "pip uninstall --yes tensorflow &&",
        "pip install 'tensorflow-tpu==",
    )
    places = [code.index(step) for step in steps]
    assert places == sorted(places)
    project = (REPO / "pyproject.toml").read_text()
    (supported,) = re.findall(r'"tensorflow([<>=][^"]+)"', project)
    (version,) = re.findall(r"tensorflow-tpu==([0-9.]+)", code)
    assert version in specifiers.SpecifierSet(supported)
    # Together they would overwrite each other's files.
    assert "tensorflow-tpu" not in re.sub("#.*", "", project)


@pytest.fixture
def worker(bench: Bench, monkeypatch) -> pathlib.Path:
    """The home folder of a worker, with the repository copied to it."""
    home = bench.folder / "worker"
    home.mkdir()
    monkeypatch.setenv("WORKER", str(home))
    bench.fake("gcloud", GCLOUD)
    answer = bench.run("launch/tpu_vm.sh", "copy", *ON)
    assert answer.returncode == 0, answer.stderr
    python = home / "lockstep" / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(TRAIN.format(python=sys.executable))
    python.chmod(0o755)
    yield home
    pid = home / "lockstep" / "train.pid"
    if pid.exists():
        try:
            os.killpg(int(pid.read_text()), signal.SIGKILL)
        except ProcessLookupError:
            pass


def wait_for_log(worker: pathlib.Path, text: str) -> str:
    log = worker / "lockstep" / "train.log"
    deadline = time.monotonic() + SECONDS
    while not log.exists() or text not in log.read_text():
        assert time.monotonic() < deadline, log.exists() and log.read_text()
        time.sleep(0.02)
    return log.read_text()


def test_copy_brings_the_repository(worker: pathlib.Path) -> None:
    copied = worker / "lockstep"
    assert (copied / "launch" / "restart.sh").exists()
    assert (copied / "gin" / "digits.gin").exists()
    for left_out in (".git", "build", "data", "runs"):
        assert not (copied / left_out).exists()


def test_run_status_logs_stop(bench: Bench, worker: pathlib.Path) -> None:
    tpu = "launch/tpu_vm.sh"
    assert "not training" in bench.run(tpu, "status", *ON).stdout
    started = bench.run(tpu, "run", *ON, *RUN, "--", *AWKWARD)
    assert started.returncode == 0
    wait_for_log(worker, "training")
    arguments, place = json.loads((worker / "lockstep/given.json").read_text())
    assert arguments == [
        *("-m", "trainer.main", *RUN),
        '--gin_param=make_engine.name="tpu"',
        *AWKWARD,
    ]
    assert place == ["local", None, "/venv/libtpu.so"]

    status = bench.run(tpu, "status", *ON).stdout
    assert status == "READY\ntraining\ntraining\n"
    assert bench.run(tpu, "logs", *ON).stdout == "training\n"
    again = bench.run(tpu, "run", *ON, *RUN)
    assert again.returncode == 2
    assert "a training runs here already. Stop it first" in again.stderr

    assert bench.run(tpu, "stop", *ON).returncode == 0
    log = wait_for_log(worker, "ended with code 75")
    # Stopped on purpose: saved, and not started again.
    assert log.splitlines()[:2] == ["training", "saved"]
    assert log.count("training") == 1
    assert "not training" in bench.run(tpu, "status", *ON).stdout


def test_a_pod_is_driven_from_worker_0(bench: Bench, worker) -> None:
    bench.run("launch/tpu_vm.sh", "run", *ON, *RUN, "--pod")
    assert "--worker=0" in bench.calls("gcloud")[-1].arguments
    wait_for_log(worker, "training")
    _, place = json.loads((worker / "lockstep/given.json").read_text())
    assert place == ["tpu1", "0", None]
