"""launch.local as a user meets it: real processes, which do little."""

import contextlib
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import psutil
import pytest

from launch import cores
from tests.conftest import REPO
from tests.launch.conftest import clean_environment

LOCAL = [sys.executable, "-m", "launch.local"]
SECONDS = 30.0
# All processes of a test have it in their environment.
MARK = "LOCKSTEP_TEST_MARK"
# A host's own would limit the number of workers.
NO_GPUS = {"CUDA_VISIBLE_DEVICES": "-1"}


@pytest.fixture
def mark(tmp_path: pathlib.Path) -> Iterator[str]:
    """Names the processes of a test; whatever it leaves is ended."""
    yield str(tmp_path)
    for process in marked(str(tmp_path)):
        process.kill()


def marked(mark: str) -> list[psutil.Process]:
    """The processes of a test, wherever they have moved."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(MARK) == mark:
                if process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
    return found


def all_gone(mark: str) -> bool:
    deadline = time.monotonic() + SECONDS
    while marked(mark):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def command(workers: int, script: str, *flags: str) -> list[str]:
    return [*LOCAL, f"--workers={workers}", *flags, "--", "sh", "-c", script]


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        arguments,
        cwd=REPO,
        env=clean_environment() | NO_GPUS | variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )


@contextlib.contextmanager
def start(mark: str, arguments: list[str]) -> Iterator[subprocess.Popen[str]]:
    """Starts a launcher, which does not outlive the context."""
    launcher = subprocess.Popen(
        arguments,
        cwd=REPO,
        env=clean_environment() | NO_GPUS | {MARK: mark},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with launcher:
        try:
            yield launcher
        finally:
            launcher.kill()


def read_until(launcher: subprocess.Popen[str], *expected: str) -> list[str]:
    """Reads lines of stdout until all of these have come, in any order."""
    seen: list[str] = []
    while not set(expected) <= set(seen):
        line = launcher.stdout.readline()
        assert line, f"{seen}\n{launcher.stderr.read()}"
        seen.append(line.rstrip("\n"))
    return seen


# Output.


def test_lines_have_the_number_of_their_worker() -> None:
    script = "echo out $LOCKSTEP_INDEX; echo err $LOCKSTEP_INDEX >&2"
    answer = run(*command(2, script))
    assert answer.returncode == 0
    assert sorted(answer.stdout.splitlines()) == ["[0] out 0", "[1] out 1"]
    *errors, last = answer.stderr.splitlines()
    assert sorted(errors) == ["[0] err 0", "[1] err 1"]
    assert re.fullmatch(r"launch\.local: 2 workers done after [\d.]+ s\.", last)


def test_long_lines_and_lines_without_end() -> None:
    script = "head -c 300000 /dev/zero | tr '\\0' x; echo; printf 'no end'"
    answer = run(*command(2, script, "--pin_cores=false"))
    assert sorted(answer.stdout.splitlines()) == sorted(
        [f"[{i}] {text}" for i in (0, 1) for text in ("x" * 300_000, "no end")]
    )


def test_a_progress_bar_does_not_garble_the_others() -> None:
    script = "for i in 1 2 3; do printf '\\r%s/3' $i >&2; done; echo >&2"
    answer = run(*command(1, script))
    assert answer.stderr.splitlines()[:-1] == ["[0] 1/3", "[0] 3/3"]


def test_workers_go_on_when_the_reader_of_the_log_has_gone(mark, tmp_path):
    done = tmp_path / "done"
    script = f"echo ready; read x < {tmp_path}/go; seq 100000; touch {done}"
    os.mkfifo(tmp_path / "go")
    with start(mark, command(1, script)) as launcher:
        read_until(launcher, "[0] ready")
        launcher.stdout.close()
        (tmp_path / "go").write_text("\n")
        assert launcher.wait(SECONDS) == 0
    assert done.exists()


def test_stdin_is_empty() -> None:
    assert run(*command(1, "cat; echo end")).stdout == "[0] end\n"


# What the workers are given.


def test_multi_worker_variables() -> None:
    script = "echo $LOCKSTEP_INDEX $LOCKSTEP_WORKERS $TF_CONFIG $HOROVOD_RANK"
    answer = run(*command(2, script), TF_CONFIG="{}", HOROVOD_RANK="7")
    lines = [line.split() for line in sorted(answer.stdout.splitlines())]
    assert [line[:2] for line in lines] == [["[0]", "0"], ["[1]", "1"]]
    ((workers,),) = {tuple(line[2:]) for line in lines}
    first, second = workers.split(",")
    assert first != second
    assert re.fullmatch(r"127\.0\.0\.1:\d+", first)


def test_horovod_variables() -> None:
    script = (
        "echo $HOROVOD_RANK $HOROVOD_SIZE $HOROVOD_LOCAL_RANK "
        "$HOROVOD_CROSS_SIZE $HOROVOD_CONTROLLER $HOROVOD_GLOO_IFACE "
        "$HOROVOD_GLOO_RENDEZVOUS_ADDR"
    )
    answer = run(*command(2, script, "--engine=horovod"))
    assert answer.returncode == 0, answer.stderr
    assert sorted(answer.stdout.splitlines()) == [
        f"[{i}] {i} 2 {i} 1 gloo lo 127.0.0.1" for i in (0, 1)
    ]


def test_output_is_not_held_back_unless_asked(monkeypatch) -> None:
    shown = command(1, "echo $PYTHONUNBUFFERED")
    assert run(*shown, PYTHONUNBUFFERED="x").stdout == "[0] x\n"
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    assert run(*shown).stdout == "[0] 1\n"


def test_python_is_this_python() -> None:
    program = [*LOCAL, "--workers=1", "--", "python", "-c"]
    answer = run(*program, "import sys; print(sys.prefix)", PATH="/nowhere")
    assert answer.stdout == f"[0] {sys.prefix}\n"


def test_arguments_are_passed_on_as_they_are() -> None:
    awkward = ["--workers=5", "--help", "--", "", "a b", "'\"$x\\", "é\n"]
    program = [*LOCAL, "--workers=1", "--", "python", "-c"]
    answer = run(*program, "import sys; print(ascii(sys.argv[1:]))", *awkward)
    assert answer.stdout == f"[0] {ascii(awkward)}\n"


def affinities(answer: subprocess.CompletedProcess[str]) -> list[str]:
    return [line[4:] for line in sorted(answer.stdout.splitlines())]


@pytest.mark.skipif(len(cores.available()) < 2, reason="one core")
def test_each_worker_has_cores_of_its_own() -> None:
    program = [*LOCAL, "--workers=2", "--", "python", "-c"]
    script = "import os; print(*os.sched_getaffinity(0))"
    first, second = (
        set(words.split()) for words in affinities(run(*program, script))
    )
    assert not first & second
    assert len(first | second) == len(cores.available())


def test_cores_are_shared_where_they_must_be_or_shall_be() -> None:
    script = "import os; print(*os.sched_getaffinity(0))"
    everything = " ".join(map(str, cores.available()))
    for flags in (
        [f"--workers={len(cores.available()) + 1}"],
        ["--workers=1", "--nopin_cores"],
    ):
        answer = run(*LOCAL, *flags, "--", "python", "-c", script)
        assert set(affinities(answer)) == {everything}


@pytest.mark.parametrize(
    ("engine", "expected"),
    [("multi_worker", ["4,5", "6,7"]), ("horovod", ["4,5,6,7"] * 2)],
)
def test_gpus_are_divided(engine: str, expected: list[str]) -> None:
    # Horovod's engine takes one of all of them by its local rank.
    shown = command(2, "echo $CUDA_VISIBLE_DEVICES", f"--engine={engine}")
    answer = run(*shown, CUDA_VISIBLE_DEVICES="4,5,6,7")
    lines = [f"[{i}] {names}" for i, names in enumerate(expected)]
    assert sorted(answer.stdout.splitlines()) == lines, answer.stderr


# Failures.


def test_the_first_failure_ends_the_others_and_is_reported() -> None:
    script = """
        test $LOCKSTEP_INDEX = 1 && { echo a; echo b >&2; exit 4; }
        trap 'exit 9' TERM
        while :; do sleep 0.05; done
    """
    began = time.monotonic()
    answer = run(*command(3, script))
    assert answer.returncode == 4
    assert time.monotonic() - began < 10
    summary = answer.stderr.split("worker 1 of 3 failed with exit code 4")[1]
    assert re.match(r" after [\d.]+ s; its last lines:\n", summary)
    assert sorted(summary.splitlines()[1:]) == ["[1] a", "[1] b"]


def test_a_worker_that_is_killed() -> None:
    answer = run(*command(1, "kill -KILL $$"))
    assert answer.returncode == 137
    assert "worker 0 of 1 was killed by SIGKILL" in answer.stderr
    assert "it printed nothing" in answer.stderr


def test_a_signal_without_a_name(mark: str) -> None:
    script = "test $LOCKSTEP_INDEX = 0 && kill -39 $$; sleep 1000; true"
    with start(mark, command(2, script, "--max_restarts=1")) as launcher:
        _, err = launcher.communicate(timeout=SECONDS)
        assert not marked(mark)
    assert launcher.returncode == 128 + 39
    assert err.count("worker 0 of 2 was killed by signal 39") == 2, err
    assert "restart 1 of 1" in err


def test_a_grace_that_no_selector_can_wait_for(mark: str) -> None:
    script = "test $LOCKSTEP_INDEX = 0 && exit 4; sleep 9"
    with start(mark, command(2, script, "--grace=1e10")) as launcher:
        _, err = launcher.communicate(timeout=SECONDS)
        assert not marked(mark)
    assert launcher.returncode == 4, err


def test_who_does_not_listen_is_killed_after_the_grace() -> None:
    script = """
        test $LOCKSTEP_INDEX = 1 && { sleep 0.2; exit 4; }
        trap '' TERM
        while :; do sleep 0.05; done
    """
    answer = run(*command(2, script, "--grace=0.3"))
    assert answer.returncode == 4
    assert "killing what is left of: 0" in answer.stderr


def test_who_is_stopped_is_killed_after_the_grace() -> None:
    script = "test $LOCKSTEP_INDEX = 1 && { sleep 0.2; exit 4; }; kill -STOP $$"
    answer = run(*command(2, script, "--grace=0.3"))
    assert answer.returncode == 4


@pytest.mark.parametrize(
    ("code", "max_restarts", "starts", "says"),
    [
        (1, 0, 1, ""),
        (1, 2, 3, "not started again after --max_restarts=2"),
        (137, 1, 2, "restart 1 of 1"),
        (0, 2, 1, "done"),
        (2, 2, 1, "not started again: exit code 2 means wrong flags"),
        (3, 2, 1, "not started again: exit code 3 means bad data"),
        (75, 2, 1, "not started again: exit code 75 means"),
    ],
)
def test_restarts(code: int, max_restarts: int, starts: int, says: str) -> None:
    script = f"echo $LOCKSTEP_RESTARTS $LOCKSTEP_WORKERS; exit {code}"
    answer = run(*command(1, script, f"--max_restarts={max_restarts}"))
    assert answer.returncode == code
    lines = [line.split() for line in answer.stdout.splitlines()]
    assert [line[1] for line in lines] == [str(i) for i in range(starts)]
    assert len({line[2] for line in lines}) == starts
    assert says in answer.stderr


@pytest.mark.parametrize("engine", ["multi_worker", "horovod"])
def test_a_restart_that_helps(engine: str) -> None:
    script = "exit $((LOCKSTEP_RESTARTS == 0))"
    flags = ("--max_restarts=5", f"--engine={engine}")
    answer = run(*command(2, script, *flags))
    assert answer.returncode == 0, answer.stderr
    assert answer.stderr.count("restart 1 of 5") == 1
    assert "restart 2" not in answer.stderr


# Signals.

LISTEN = """
for name in TERM INT HUP USR1; do trap "echo $name; exit 75" $name; done
echo ready
while :; do sleep 0.02; done
"""


@pytest.mark.parametrize("name", ["TERM", "INT", "HUP", "USR1"])
def test_signals_are_passed_on_and_75_comes_back(name: str, mark: str) -> None:
    with start(mark, command(2, LISTEN, "--max_restarts=3")) as launcher:
        read_until(launcher, "[0] ready", "[1] ready")
        launcher.send_signal(getattr(signal, f"SIG{name}"))
        out, err = launcher.communicate(timeout=SECONDS)
    assert launcher.returncode == 75
    assert sorted(out.splitlines()) == [f"[0] {name}", f"[1] {name}"]
    assert f"SIG{name} passed on to 2 workers" in err
    assert "a checkpoint is committed. Run the same command again" in err
    assert "restart" not in err.replace("not started again", "")


def test_no_restart_after_a_signal(mark: str) -> None:
    script = "trap 'exit 1' TERM; echo ready; while :; do sleep 0.02; done"
    with start(mark, command(1, script, "--max_restarts=3")) as launcher:
        read_until(launcher, "[0] ready")
        launcher.terminate()
        _, err = launcher.communicate(timeout=SECONDS)
    assert launcher.returncode == 1
    assert "not started again after a signal" in err


def test_after_a_stop_the_others_may_take_the_grace(mark: str) -> None:
    script = """
        trap 'n=1' TERM
        echo ready
        while [ -z $n ]; do sleep 0.02; done
        n=
        test $LOCKSTEP_INDEX = 0 && exit 75
        trap 'echo asked again' TERM
        sleep 0.5
        echo saved; exit 75
    """
    with start(mark, command(2, script)) as launcher:
        read_until(launcher, "[0] ready", "[1] ready")
        launcher.terminate()
        out, _ = launcher.communicate(timeout=SECONDS)
    assert launcher.returncode == 75
    assert out == "[1] saved\n"


DEAF = """
trap 'echo TERM' TERM
trap 'echo INT' INT
echo ready
while :; do sleep 0.02; done
"""


def test_a_second_stop_is_by_force_after_the_grace(mark: str) -> None:
    with start(mark, command(2, DEAF, "--grace=0.2")) as launcher:
        read_until(launcher, "[0] ready", "[1] ready")
        launcher.send_signal(signal.SIGINT)
        read_until(launcher, "[0] INT", "[1] INT")
        time.sleep(1.1)  # one that comes sooner is taken for the same
        launcher.send_signal(signal.SIGTERM)
        _, err = launcher.communicate(timeout=SECONDS)
        assert not marked(mark)
    assert launcher.returncode == 137
    assert "asked to stop again: ending all by force after 0.2 s" in err
    assert "killing what is left of: 0, 1" in err


def test_a_signal_that_comes_twice_at_once_is_one(mark: str) -> None:
    # As timeout(1) does: to its child, and to the process group of both.
    script = """
        trap 'n=1' TERM INT
        echo ready
        while [ -z $n ]; do sleep 0.02; done
        sleep 0.5; echo saved; exit 75
    """
    with start(mark, command(1, script, "--grace=0")) as launcher:
        read_until(launcher, "[0] ready")
        launcher.send_signal(signal.SIGINT)  # two of a kind may become one
        launcher.send_signal(signal.SIGTERM)
        out, err = launcher.communicate(timeout=SECONDS)
    assert launcher.returncode == 75
    assert out == "[0] saved\n"
    assert "by force" not in err


def test_nohup_keeps_hangups_away(mark: str) -> None:
    with start(mark, ["nohup", *command(1, LISTEN)]) as launcher:
        read_until(launcher, "[0] ready")
        launcher.send_signal(signal.SIGHUP)
        launcher.send_signal(signal.SIGUSR1)
        out, err = launcher.communicate(timeout=SECONDS)
    assert launcher.returncode == 75
    assert out == "[0] USR1\n"
    assert "SIGHUP" not in err


# Nothing is left.

# A grandchild in a session of its own, one that has lost its parent besides.
FAMILY = """
sleep 1000 &
setsid sleep 1000 &
(setsid sleep 1000 &)
trap '' TERM
"""


def wait_for_families(mark: str, number: int) -> None:
    """Returns when workers have all their descendants."""
    deadline = time.monotonic() + SECONDS
    names: list[str] = []
    while names != ["sh"] * number + ["sleep"] * 3 * number:
        assert time.monotonic() < deadline, names
        names = []
        for process in marked(mark):
            with contextlib.suppress(psutil.NoSuchProcess):
                names.append(process.name())
        names = sorted(n for n in names if n in ("sh", "sleep", "setsid"))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGQUIT])
def test_no_one_outlives_the_launcher(number: int, mark: str) -> None:
    script = FAMILY + "echo ready; while :; do wait; done"
    with start(mark, command(2, script)) as launcher:
        read_until(launcher, "[0] ready", "[1] ready")
        wait_for_families(mark, 2)
        launcher.send_signal(number)
        assert launcher.wait(SECONDS) == -number
        assert all_gone(mark)


@pytest.mark.parametrize("code", [0, 5])
def test_no_one_outlives_a_worker(code: int, mark: str) -> None:
    # One that ignores SIGTERM, too.
    script = f"(trap '' TERM; setsid sleep 1000 &) {FAMILY} exit {code}"
    with start(mark, command(1, script)) as launcher:
        assert launcher.wait(SECONDS) == code
        assert not marked(mark)


def test_no_one_outlives_a_guardian(mark: str) -> None:
    script = FAMILY + "echo ready; while :; do wait; done"
    with start(mark, command(1, script)) as launcher:
        read_until(launcher, "[0] ready")
        wait_for_families(mark, 1)
        (guardian,) = psutil.Process(launcher.pid).children()
        guardian.kill()
        assert launcher.wait(SECONDS) == 137
        assert not marked(mark)


# Ends the launcher by an error of its own as soon as a worker has failed.
BROKEN = """
import sys
from launch import local, supervisor
def broken(self):
    if self.first_failure():
        raise RuntimeError("broken")
supervisor.Supervisor._see_failures = broken
sys.exit(local.main(sys.argv))
"""


def test_no_one_outlives_an_error_of_the_launcher(mark, tmp_path) -> None:
    os.mkfifo(tmp_path / "go")
    script = f"""
        {FAMILY} echo ready
        test $LOCKSTEP_INDEX = 0 && {{ read x < {tmp_path}/go; exit 4; }}
        while :; do wait; done
    """
    arguments = [*command(2, script)]
    arguments[1:3] = ["-c", BROKEN]
    with start(mark, arguments) as launcher:
        read_until(launcher, "[0] ready", "[1] ready")
        wait_for_families(mark, 2)
        (tmp_path / "go").write_text("\n")
        _, err = launcher.communicate(timeout=SECONDS)
        assert not marked(mark)
    assert launcher.returncode == 1
    assert "RuntimeError: broken" in err


def test_a_stopped_guardian_is_no_escape(mark, tmp_path) -> None:
    os.mkfifo(tmp_path / "go")
    script = f"""
        test $LOCKSTEP_INDEX = 1 && {{ read x < {tmp_path}/go; exit 4; }}
        kill -STOP $PPID; echo ready; sleep 1000
    """
    with start(mark, command(2, script, "--grace=0.1")) as launcher:
        read_until(launcher, "[0] ready")
        (tmp_path / "go").write_text("\n")
        assert launcher.wait(SECONDS) == 4
        assert not marked(mark)


def test_children_of_a_shell_that_became_the_launcher_are_spared(mark) -> None:
    line = " ".join(f"'{word}'" for word in command(1, "exit 0"))
    script = f"sleep 1000 & exec {line}"
    with start(mark, ["sh", "-c", script]) as launcher:
        launcher.stdout.close()
        assert launcher.wait(SECONDS) == 0
        assert [p.name() for p in marked(mark)] == ["sleep"]
        marked(mark)[0].kill()


# Wrong use.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--", "true"], "--workers is missing.*--workers=2"),
        (["--workers=2"], "there is no command.*-- python -m trainer.main"),
        (["--workers=2", "--"], "there is no command"),
        (["--workers=0", "--", "true"], "--workers=0"),
        (["--workers=x", "--", "true"], "--workers=x"),
        (
            ["--workers=1", "--engine=mpi", "--", "true"],
            "--engine=mpi.*horovod",
        ),
        (["--workers=1", "--grace=-1", "--", "true"], "--grace=-1"),
        (["--workers=1", "--grace=nan", "--", "true"], "--grace=nan.*finite"),
        (["--workers=1", "--grace=inf", "--", "true"], "--grace=inf.*finite"),
        (["--workers=1", "--max_restarts=-1", "--", "true"], "max_restarts=-1"),
        (["--worker=1", "--", "true"], "worker"),
        (["--workers=1", "--", "no-such-program"], "'no-such-program' is no"),
        (["--workers=1", "--", "/etc/passwd"], "'/etc/passwd' is no program"),
        (
            ["--workers=999999", "--pin_cores", "--", "true"],
            r"--pin_cores with --workers=999999.*there are \d+.*leave",
        ),
    ],
)
def test_wrong_use(arguments: list[str], message: str) -> None:
    answer = run(*LOCAL, *arguments)
    assert answer.returncode == 2
    assert answer.stdout == ""
    assert re.search(message, answer.stderr), answer.stderr
    assert "Traceback" not in answer.stderr


def test_fewer_gpus_than_workers() -> None:
    answer = run(*command(3, "true"), CUDA_VISIBLE_DEVICES="0,1")
    assert answer.returncode == 2
    assert "--workers=3 processes cannot have equal parts" in answer.stderr


def test_more_workers_than_open_files_allow(mark: str) -> None:
    script = 'ulimit -n 40; exec "$@"'
    limited = ["sh", "-c", script, "sh", *command(20, "sleep 1000")]
    with start(mark, limited) as launcher:
        _, err = launcher.communicate(timeout=SECONDS)
        assert not marked(mark)
    assert launcher.returncode == 2
    found = re.search(r"--workers=20 .* (\d+) open files.*limit is 40", err)
    assert found and f"ulimit -n {found[1]}" in err, err
    enough = f"ulimit -n {found[1]}; exec $*"
    answer = run("sh", "-c", enough, "sh", *LOCAL, "--workers=20", "--", "true")
    assert answer.returncode == 0, answer.stderr


def test_horovod_that_is_not_there(tmp_path: pathlib.Path) -> None:
    (tmp_path / "horovod.py").write_text("raise ImportError('none here')")
    flags = ["--workers=2", "--engine=horovod", "--", "true"]
    answer = run(*LOCAL, *flags, PYTHONPATH=str(tmp_path))
    assert answer.returncode == 2
    assert "python -m launch.install_horovod" in answer.stderr


def test_a_program_that_cannot_be_executed(tmp_path: pathlib.Path) -> None:
    (tmp_path / "script").write_text("#!/no/such/interpreter\n")
    (tmp_path / "script").chmod(0o755)
    answer = run(*LOCAL, "--workers=1", "--", str(tmp_path / "script"))
    assert answer.returncode == 127
    assert f"cannot run {tmp_path}/script" in answer.stderr


def test_help() -> None:
    answer = run(*LOCAL, "--help")
    assert answer.returncode == 0
    for text in ("--workers", "--grace", "--max_restarts", "Seconds", "75"):
        assert text in answer.stdout
