import re
import subprocess
import sys

import pytest

from benchmarks import cases, tables
from tests.conftest import REPO


def run(*flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.step", *flags],
        capture_output=True,
        text=True,
        check=False,
        cwd=REPO,
    )


def test_prints_tables_with_ratios() -> None:
    done = run(
        "--cases=smoke",
        "--peers=bare,torch",
        "--rounds=1",
        "--seconds=0",
        "--torch_python=/bin/false",
    )
    assert done.returncode == 0, done.stderr
    assert cases.CASES["smoke"].title in done.stdout
    assert "1 rounds of 2 steps." in done.stdout
    ratio = r"\| Lockstep / bare loop, same model \| (\d+\.\d{3}) \|"
    found = re.search(ratio, done.stdout)
    assert found and float(found.group(1)) > 0
    missing = "| PyTorch eager, channels_last | not installed |  |  |"
    assert missing in done.stdout


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--cases=resnet50", "must be some of resnet20, resnet18, smoke"),
        ("--peers=jax", "must be some of fit, fit_no_jit, bare, torch, main"),
        ("--rounds=0", "rounds"),
    ],
)
def test_refuses_what_it_does_not_know(flag: str, message: str) -> None:
    done = run(flag)
    assert done.returncode == 1
    assert message in done.stderr


def test_ratios_are_of_rounds() -> None:
    seconds = {"a": [1.0, 2.0, 4.0], "b": [2.0, 3.0, 2.0]}
    assert tables.ratios(seconds, "a", "b") == [2.0, 1.5, 0.5]
    titles = {"a": "A", "b": "B"}
    text = tables.comparisons(seconds, titles, [("a", "b")], {"b": 1.1})
    assert text.splitlines()[-1] == "| A / B | 1.500 | 0.500..2.000 | 1.10 |"


def test_speeds_name_what_is_missing() -> None:
    text = tables.speeds({"a": [0.5, 0.25]}, {"a": "A", "b": "B"}, batch=8)
    assert text.splitlines()[2:] == [
        "| A | 375.0 | 24.0 | 16.0..32.0 |",
        "| B | not installed |  |  |",
    ]
