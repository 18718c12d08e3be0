"""The benchmark of restarts, run once in small."""

import re
import subprocess
import sys

import pytest

from tests.conftest import REPO


@pytest.mark.long
def test_a_small_run() -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks.restart", "--times=1"),
            *("--kills=1", "--kill_seconds=25"),
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=REPO,
    )
    assert done.returncode == 0, done.stderr
    for name in ("commit to metrics", "command to the first", "SIGKILL of one"):
        found = re.search(rf"\| {name}[^|]* \| (\d+\.\d\d) \|", done.stdout)
        assert found and float(found.group(1)) > 0, done.stdout
    assert re.search(r"Killed 1 times.*\d+\.\d% of the time", done.stdout)
