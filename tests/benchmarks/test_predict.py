"""The benchmark of predictions: a small run."""

import re
import subprocess
import sys

from tests.conftest import REPO


def test_a_small_run() -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks.predict", "--network=cnn"),
            *("--rounds=1", "--pictures=6", "--batch_size=4"),
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=REPO,
    )
    assert done.returncode == 0, done.stderr
    for name in ("files to CSV", "pixels that are ready", "decoding"):
        rate = re.search(rf"{name} \| [\d.,]+ \| ([\d.,]+)", done.stdout)
        assert float(rate[1].replace(",", "")) > 0
    assert done.stdout.count("trainer.predict, files to CSV / ") == 2
