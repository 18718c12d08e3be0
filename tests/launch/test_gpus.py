"""GPUs that are handed out; none of them is there."""

import os
import re

import pytest

from launch import gpus, usage
from tests.launch.conftest import Bench


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0,1", ["0", "1"]),
        ("3, 1", ["3", "1"]),
        ("GPU-a1,MIG-b/1/0", ["GPU-a1", "MIG-b/1/0"]),
        ("2,-1,0", ["2"]),
        ("-1", []),
        ("", []),
        ("NoDevFiles", []),
    ],
)
def test_visible(value: str, expected: list[str]) -> None:
    assert gpus.visible({"CUDA_VISIBLE_DEVICES": value}) == expected


@pytest.mark.parametrize(
    ("code", "expected"),
    [("print('0\\n1')", ["0", "1"]), ("sys.exit('no driver')", [])],
)
def test_all_of_the_driver(bench: Bench, monkeypatch, code, expected) -> None:
    bench.fake("nvidia-smi", code)
    monkeypatch.setenv("PATH", f"{bench.bin}:{os.environ['PATH']}")
    assert gpus.visible({}) == expected


def test_no_driver(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpus.divide(2, {}) == [{}, {}]


@pytest.mark.parametrize(
    ("value", "workers", "expected"),
    [
        ("4,5,6,7", 2, ["4,5", "6,7"]),
        ("4,5", 2, ["4", "5"]),
        ("4,5", 1, ["4,5"]),
    ],
)
def test_equal_parts(value: str, workers: int, expected: list[str]) -> None:
    parts = gpus.divide(workers, {"CUDA_VISIBLE_DEVICES": value})
    assert parts == [{"CUDA_VISIBLE_DEVICES": part} for part in expected]


@pytest.mark.parametrize(("value", "workers"), [("0,1", 3), ("0,1,2,3", 3)])
def test_no_equal_parts(value: str, workers: int) -> None:
    number = len(value.split(","))
    message = f"--workers={workers} .*{number} GPU.*Write --workers={number}"
    with pytest.raises(usage.UsageError, match=re.compile(message)):
        gpus.divide(workers, {"CUDA_VISIBLE_DEVICES": value})
