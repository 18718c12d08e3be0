"""launch/slurm.sh and the batch script it writes, with fakes of Slurm's tools.

tests/launch/test_slurm.py submits the same to a real Slurm.
"""

import re
import sys

import pytest

from tests.conftest import REPO
from tests.launch.conftest import AWKWARD, Bench

SLURM = [
    "launch/slurm.sh",
    "--gin_file=gin/digits.gin",
    "--model_dir=/shared/my runs/a",
    f"--python={sys.executable}",
]
TRAINING = [
    sys.executable,
    "-m",
    "trainer.main",
    "--gin_file=gin/digits.gin",
    "--model_dir=/shared/my runs/a",
]


def directives(script: str) -> dict[str, str]:
    """Names and values of the #SBATCH lines."""
    return {
        name: value.removeprefix("=")
        for name, value in re.findall(
            r"^#SBATCH --([a-z-]+)(=?.*)$", script, re.M
        )
    }


def test_directives(bench: Bench) -> None:
    answer = bench.run(
        *SLURM,
        *("--nodes=2", "--tasks-per-node", "4", "--gpus_per_task=1"),
        *("--cpus-per-task=8", "--time=1-12:00:00", "--partition=gpu"),
        *("--signal=300", "--name=my.run", "--print"),
    )
    assert answer.stderr == ""
    assert directives(answer.stdout) == {
        "job-name": "my.run",
        "nodes": "2",
        "ntasks-per-node": "4",
        "cpus-per-task": "8",
        "gpus-per-task": "1",
        "time": "1-12:00:00",
        "partition": "gpu",
        "requeue": "",
        "signal": "USR1@300",
        "open-mode": "append",
        "output": "%x-%j.log",
    }
    # Slurm reads the directives before the first command only.
    before_commands = answer.stdout.split("\nmax_requeues=")[0]
    assert before_commands.count("#SBATCH") == 11
    assert bench.calls() == []


@pytest.mark.parametrize(
    ("limit", "seconds"),
    [
        ("2", 120),
        ("2:30", 150),
        ("0:02:00", 120),
        ("1-0", 86400),
        ("1-02:30", 95400),
        ("1-02:30:09", 95409),
        ("08:09:08", 29348),
    ],
)
def test_a_signal_that_comes_too_early(bench, limit, seconds: int) -> None:
    most = seconds // 2
    flags = [*SLURM, "--print", f"--time={limit}"]
    assert bench.run(*flags, f"--signal={most}").returncode == 0
    answer = bench.run(*flags, f"--signal={most + 1}")
    assert answer.returncode == 2
    assert answer.stdout == ""
    assert f"--signal={most + 1} is more than half of" in answer.stderr
    assert f"Write --signal={most} or less" in answer.stderr


def test_no_time_limit_fits_every_signal(bench: Bench) -> None:
    assert bench.run(*SLURM, "--print", "--time=0").returncode == 0


def test_directives_that_are_left_to_the_cluster(bench: Bench) -> None:
    answer = bench.run(*SLURM, "--print")
    names = set(directives(answer.stdout))
    assert not names & {"time", "partition", "cpus-per-task", "gpus-per-task"}


def test_sbatch_gets_what_print_shows(bench: Bench) -> None:
    bench.fake("sbatch")
    arguments = [*SLURM, "--nodes=2", "--", *AWKWARD]
    assert bench.run(*arguments).returncode == 0
    shown = bench.run(*SLURM, "--nodes=2", "--print", "--", *AWKWARD).stdout
    (call,) = bench.calls()
    assert call.arguments == []
    assert call.stdin == shown


def test_sbatch_that_fails_ends_the_script(bench: Bench) -> None:
    bench.fake("sbatch", "sys.exit('sbatch: error: invalid partition')")
    answer = bench.run(*SLURM)
    assert answer.returncode == 1
    assert "invalid partition" in answer.stderr


def test_no_sbatch(bench: Bench) -> None:
    (bench.bin / "dirname").symlink_to("/usr/bin/dirname")
    answer = bench.run("/bin/bash", REPO / SLURM[0], *SLURM[1:], PATH="bin")
    assert answer.returncode == 2
    assert "sbatch is not on PATH" in answer.stderr


def run_batch_script(
    bench: Bench,
    *flags: str,
    code: int = 0,
    state: str = "RUNNING",
    restarts: int = 0,
):
    """Runs what --print shows, with a step that ends with a code.

    `state` is what squeue says; of several words, one after the other.
    """
    bench.fake("srun", f"sys.exit({code})")
    bench.fake(
        "squeue",
        f"""
        calls = open({str(bench.log)!r}).read().count('"tool": "squeue"')
        states = {state.split() or [""]!r}
        print(states[min(calls, len(states)) - 1])
        """,
    )
    bench.fake("sleep")
    bench.fake("scontrol")
    script = bench.run(*SLURM, "--print", *flags).stdout
    variables = {"SLURM_RESTART_COUNT": str(restarts)} if restarts else {}
    return bench.run_text(script, SLURM_JOB_ID="7", **variables)


@pytest.mark.parametrize(
    ("flags", "engine", "task"),
    [
        (["--nodes=2"], "multi_worker", ["--engine=multi_worker"]),
        (
            ["--tasks_per_node=2", "--port=20000"],
            "multi_worker",
            ["--engine=multi_worker", "--port=20000"],
        ),
        (
            ["--nodes=2", "--engine=horovod"],
            "horovod",
            ["--engine=horovod"],
        ),
        (["--engine=multi_worker"], "multi_worker", ["--engine=multi_worker"]),
        ([], "auto", None),
        (["--engine=mirrored"], "mirrored", None),
    ],
)
def test_every_word_reaches_the_step(bench, flags, engine, task) -> None:
    run_batch_script(bench, *flags, "--", *AWKWARD)
    (call,) = bench.calls("srun")
    until = call.arguments.index(sys.executable)
    assert call.arguments[:until] == [
        "--label",
        "--mpi=none",
        "--distribution=block",
        "--kill-on-bad-exit=0",
        "--wait=60",
    ]
    launcher = (
        [sys.executable, "-m", "launch.task", *task, "--"] if task else []
    )
    assert call.arguments[until:] == [
        *launcher,
        *TRAINING,
        f'--gin_param=make_engine.name="{engine}"',
        *AWKWARD,
    ]


def test_evaluation_beside_a_training(bench: Bench) -> None:
    run_batch_script(bench, "--program=trainer.evaluate")
    (call,) = bench.calls("srun")
    assert call.arguments[-5:-3] == ["-m", "trainer.evaluate"]


def test_cpus_are_passed_on_to_the_step(bench: Bench) -> None:
    # Since Slurm 22.05 srun does not take them from the job.
    run_batch_script(bench, "--cpus_per_task=8")
    assert "--cpus-per-task=8" in bench.calls("srun")[0].arguments


@pytest.mark.parametrize(
    ("flags", "all_seen"),
    [
        (["--gpus_per_task=1", "--engine=horovod"], True),
        (["--gpus_per_task=0", "--engine=horovod"], False),
        (["--gpus_per_task=1", "--engine=multi_worker"], False),
    ],
)
def test_horovod_sees_all_gpus_of_the_node(bench, flags, all_seen) -> None:
    # Its engine chooses one by its local rank.
    run_batch_script(bench, "--tasks_per_node=2", *flags)
    arguments = bench.calls("srun")[0].arguments
    assert ("--gpu-bind=none" in arguments) == all_seen


def test_the_step_finds_lockstep(bench: Bench) -> None:
    bench.fake("srun", "print(os.environ['PYTHONPATH'])")
    script = bench.run(*SLURM, "--print").stdout
    for before, after in ("", f"{REPO}\n"), ("/x", f"{REPO}:/x\n"):
        answer = bench.run_text(script, PYTHONPATH=before)
        assert answer.stdout == after


@pytest.mark.parametrize(
    ("code", "state", "restarts", "flags", "requeued", "says"),
    [
        (0, "RUNNING", 0, [], False, ""),
        (1, "RUNNING", 0, [], False, ""),
        (2, "RUNNING", 0, [], False, ""),
        (137, "RUNNING", 0, [], False, ""),
        (75, "RUNNING", 0, [], True, "requeued to go on"),
        (75, "RUNNING", 99, [], True, "requeued to go on"),
        # Killed by SIGUSR1: it came before the training could listen.
        (138, "RUNNING", 0, [], True, "requeued to go on"),
        (138, "COMPLETING", 0, [], False, "not requeued"),
        (75, "RUNNING", 100, [], False, "after --max_requeues=100"),
        (75, "RUNNING", 0, ["--max_requeues=0"], False, "Submit the job again"),
        (
            75,
            "COMPLETING",
            0,
            [],
            False,
            "not requeued: the job is COMPLETING.",
        ),
        (75, "", 0, [], False, "not requeued: the job is gone."),
        # The tasks ended before Slurm had noted that they were told.
        (75, "SIGNALING SIGNALING RUNNING", 0, [], True, "requeued to go on"),
        (75, "SIGNALING COMPLETING", 0, [], False, "not requeued"),
        (75, "SIGNALING", 0, [], True, "requeued to go on"),
    ],
)
def test_only_75_is_requeued(
    bench, code, state, restarts, flags, requeued, says
) -> None:
    answer = run_batch_script(
        bench, *flags, code=code, state=state, restarts=restarts
    )
    assert answer.returncode == code
    assert says in answer.stdout + answer.stderr
    calls = [call.arguments for call in bench.calls("scontrol")]
    assert calls == ([["requeue", "7"]] if requeued else [])
