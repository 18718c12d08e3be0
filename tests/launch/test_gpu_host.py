"""launch/gpu_host.sh with a driver of our own making."""

import shlex
import sys

import pytest

from tests.conftest import REPO
from tests.launch.conftest import AWKWARD, Bench

HOST = ["launch/gpu_host.sh", "--gin_file=F", "--model_dir=runs/my run"]
TRAINING = ["-m", "trainer.main", "--gin_file=F", "--model_dir=runs/my run"]


@pytest.fixture
def host(bench: Bench) -> Bench:
    """A host with two GPUs, 20 GiB of disk and 1 GiB of shared memory."""
    bench.fake("nvidia-smi", "print('0\\n1')")
    bench.fake(
        "df",
        """
        free = 1 if "/dev/shm" in sys.argv else 20
        print("Avail", free * 1024**2, sep="\\n")
        """,
    )
    bench.fake(
        "python3",
        """
        if sys.argv[1] == "-c":
            print("a notice")
            print(2)
        else:
            print(os.environ.get("CUDA_VISIBLE_DEVICES", "all"))
            sys.exit(75)
        """,
    )
    return bench


def ran(bench: Bench) -> list[str]:
    """The arguments of the last Python that was run."""
    return bench.calls("python3")[-1].arguments


def test_one_process_by_default(host: Bench) -> None:
    answer = host.run(*HOST, "--", *AWKWARD)
    assert answer.returncode == 75
    assert answer.stdout == "all\n"
    engine = '--gin_param=make_engine.name="mirrored"'
    assert ran(host) == [*TRAINING, engine, *AWKWARD]


@pytest.mark.parametrize("engine", ["horovod", "multi_worker"])
def test_one_process_for_each_gpu(host: Bench, engine: str) -> None:
    host.run(*HOST, f"--engine={engine}", "--max_restarts=3", "--", *AWKWARD)
    python = str(host.bin / "python3")
    assert ran(host) == [
        *("-m", "launch.local", "--workers=2", f"--engine={engine}"),
        *("--max_restarts=3", "--"),
        *(python, *TRAINING, f'--gin_param=make_engine.name="{engine}"'),
        *AWKWARD,
    ]


def test_some_of_the_gpus(host: Bench) -> None:
    assert host.run(*HOST, "--gpus=1").stdout == "0\n"
    host.run(*HOST, "--gpus=1", "--engine=horovod")
    assert "--workers=1" in ran(host)


def test_gpus_that_the_user_chose(host: Bench) -> None:
    answer = host.run(*HOST, "--engine=multi_worker", CUDA_VISIBLE_DEVICES="1")
    assert answer.stdout == "1\n"
    assert "--workers=1" in ran(host)


def test_some_of_the_gpus_that_the_user_chose(host: Bench) -> None:
    chosen = {"CUDA_VISIBLE_DEVICES": "5,GPU-a,7,8"}
    answer = host.run(*HOST, "--gpus=2", **chosen)
    assert answer.stdout == "5,GPU-a\n", answer.stderr
    shown = host.run(*HOST, "--gpus=2", "--print", **chosen).stdout
    assert "CUDA_VISIBLE_DEVICES=5,GPU-a" in shlex.split(shown)
    for flags in ["--gpus=5"], ["--gpus=5", "--print"]:
        answer = host.run(*HOST, *flags, **chosen)
        assert answer.returncode == 2
        assert "--gpus=5 is more than the 4 in CUDA_VISIBLE" in answer.stderr


def test_print_runs_nothing(host: Bench) -> None:
    answer = host.run(*HOST, "--gpus=2", "--print", "--", *AWKWARD)
    assert host.calls() == []
    assert shlex.split(answer.stdout) == [
        *("exec", "env", f"PYTHONPATH={REPO}", "CUDA_VISIBLE_DEVICES=0,1"),
        *(str(host.bin / "python3"), *TRAINING),
        '--gin_param=make_engine.name="mirrored"',
        *AWKWARD,
    ]


@pytest.mark.parametrize(
    ("tool", "code", "flags", "message"),
    [
        ("nvidia-smi", "sys.exit('no driver')", [], "nvidia-smi failed"),
        ("nvidia-smi", "", [], "nvidia-smi lists no GPU"),
        (None, "", ["--gpus=3"], "--gpus=3 is more than this host has. Write"),
        ("python3", "print(0)", [], "TensorFlow sees 0. Install its CUDA"),
        ("python3", "print(1)", [], "TensorFlow sees 1."),
        ("python3", "sys.exit(1)", [], "cannot import TensorFlow"),
        (
            "df",
            "print(1024**2 if '/dev/shm' in sys.argv else 9 * 1024**2)",
            [],
            "has 9 GiB free, less than --min_free_gb=10",
        ),
        ("df", "print(64 * 1024)", [], "/dev/shm has 64 MiB free"),
    ],
)
def test_what_is_checked(host: Bench, tool, code, flags, message) -> None:
    if tool:
        host.fake(tool, code)
    answer = host.run(*HOST, *flags)
    assert answer.returncode == 2
    assert answer.stdout == ""
    assert message in answer.stderr
    assert not any("-m" in call.arguments for call in host.calls("python3"))


def test_no_driver(bench: Bench) -> None:
    answer = bench.run(*HOST, f"--python={sys.executable}")
    assert answer.returncode == 2
    assert "nvidia-smi is not on PATH. It comes with NVIDIA's" in answer.stderr
