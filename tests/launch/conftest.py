"""Fake tools on PATH, which write down what they were called with."""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from shutil import which

import pytest

from tests.conftest import REPO

# Patience with anything that is waited for: the machine may be busy.
SECONDS = 300
# What a shell, YAML or Kubernetes would like to change.
AWKWARD = (
    '--gin_param=DATA_DIR="/data/x y"',
    "--gin_param=train.name='it''s'",
    "$HOME $(id) `id` $(HOME) $$ ${x}",
    "back\\slash \\n \\",
    "a & b; c | d > e < f",
    "* ? [a] ~ # !",
    "{{name}} # if pvc",
    "two\nlines",
    "a\ttab",
    "\u00e9\u4e2d",
    "",
    "-",
    "--",
)

_FAKE = """\
#!{python}
import json, os, sys
stdin = "" if sys.stdin is None or sys.stdin.isatty() else sys.stdin.read()
with open({log!r}, "a") as log:
    log.write(json.dumps({{"tool": {tool!r}, "arguments": sys.argv[1:],
                           "stdin": stdin}}) + "\\n")
"""


@dataclasses.dataclass
class Call:
    """How a fake tool was called."""

    tool: str
    arguments: list[str]
    stdin: str


def clean_environment() -> dict[str, str]:
    """Our variables without those that the scripts look at."""
    theirs = ("SLURM_", "SBATCH_", "LOCKSTEP_", "HOROVOD_", "CUDA_", "JOB_")
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(theirs)
        and name not in ("PYTHONPATH", "TF_CONFIG")
    }


class Bench:
    """A folder with fake tools, and a way to run our scripts with them."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.log = folder / "calls.jsonl"
        self.bin = folder / "bin"
        self.bin.mkdir()

    def fake(self, tool: str, code: str = "") -> pathlib.Path:
        """Puts a tool on PATH that writes down its call, then runs `code`."""
        head = _FAKE.format(python=sys.executable, log=str(self.log), tool=tool)
        path = self.bin / tool
        path.write_text(head + textwrap.dedent(code))
        path.chmod(0o755)
        return path

    def calls(self, tool: str | None = None) -> list[Call]:
        """What the fake tools were called with, in order."""
        if not self.log.exists():
            return []
        found = [
            Call(**json.loads(x)) for x in self.log.read_text().split("\n") if x
        ]
        return [call for call in found if tool in (None, call.tool)]

    def run(
        self, *command: str | pathlib.Path, stdin: str = "", **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command with the fake tools; `launch/...` is our script."""
        first, *rest = map(str, command)
        if first.startswith("launch/"):
            first = str(REPO / first)
        return subprocess.run(
            [first, *rest],
            input=stdin,
            capture_output=True,
            text=True,
            cwd=self.folder,
            timeout=SECONDS,
            env=clean_environment()
            | {"PATH": f"{self.bin}:{os.environ['PATH']}"}
            | variables,
        )

    def run_text(
        self, script: str, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Runs a bash script as a scheduler does: from a file."""
        path = self.folder / "script.sh"
        path.write_text(script)
        return self.run("bash", path, **variables)


@pytest.fixture(scope="session")
def slurm(tmp_path_factory) -> Iterator[dict[str, str]]:
    """The variables under which a Slurm of our own answers."""
    missing = [t for t in ("slurmctld", "slurmd", "sbatch") if not which(t)]
    if missing or os.geteuid():
        pytest.skip(
            "needs a Slurm cluster: root, and Debian's slurm-wlm "
            f"(not here: {' '.join(missing) or 'root'})"
        )
    script = REPO / "tests" / "launch" / "slurm_cluster.sh"
    folder = tmp_path_factory.mktemp("slurm")
    started = subprocess.run(
        [script, "start", folder],
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    try:
        assert started.returncode == 0, started.stderr
        configuration = {"SLURM_CONF": str(folder / "slurm.conf")}
        yield clean_environment() | configuration
    finally:
        subprocess.run([script, "stop", folder], check=True, timeout=SECONDS)


@pytest.fixture
def bench(tmp_path: pathlib.Path) -> Bench:
    """A bench without any fake tool yet."""
    return Bench(tmp_path)
