"""The benchmark of saving: known times, and a small run."""

import subprocess
import sys

from benchmarks import saving_report
from tests.conftest import REPO


def cells(text: str, start: str) -> list[str]:
    """The cells of the one row that begins so."""
    (row,) = [x for x in text.splitlines() if x.startswith(f"| {start} |")]
    return [cell.strip() for cell in row.strip("|").split("|")][1:]


def test_the_slowest_step_counts() -> None:
    turn = [0.1] * 99
    seconds = {
        "no saving": [[*turn, 0.1]],
        "Lockstep, beside training": [[*turn[1:], 0.12, 0.12]],
        "the same files, training waits": [[*turn[1:], 0.3, 0.3]],
        "model.fit, no saving": [[*turn, 0.1]],
        "model.fit, BackupAndRestore": [[*turn[1:], 0.2, 0.2]],
    }
    text = saving_report.report(seconds)
    assert cells(text, "Lockstep, beside training") == [
        *("100.0", "120.0", "120.0", "100.4")
    ]
    for name, ratio in (
        ("Lockstep, beside training / no saving", "1.200"),
        ("the same files, training waits / no saving", "3.000"),
        ("model.fit, BackupAndRestore / model.fit, no saving", "2.000"),
    ):
        assert cells(text, name)[0] == ratio


def test_a_small_run() -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks.saving", "--case=smoke"),
            *("--rounds=1", "--steps=4"),
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=REPO,
    )
    assert done.returncode == 0, done.stderr
    for name in ("no saving", "model.fit, BackupAndRestore"):
        assert all(
            float(x.replace(",", "")) > 0 for x in cells(done.stdout, name)
        )
    assert "bytes every 2 steps" in done.stdout
