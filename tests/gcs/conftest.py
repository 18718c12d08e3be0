"""A bucket on this machine for the tests of gs://."""

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator

import pytest

from input import gcs
from tests import gcs_emulator
from tests.conftest import REPO


@pytest.fixture(scope="session")
def emulator() -> Iterator[dict[str, str]]:
    """The environment of a process that is to see the bucket `b`."""
    with gcs_emulator.serve("b") as environment:
        yield environment


@pytest.fixture
def folder(
    emulator: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """An empty folder on gs://, for this process and its children."""
    for name, value in emulator.items():
        monkeypatch.setenv(name, value)
    gcs._client.cache_clear()
    yield f"gs://b/{uuid.uuid4().hex}"
    gcs._client.cache_clear()


def start(*arguments: str) -> subprocess.Popen:
    """Starts a Python with our code; what it says is one stream."""
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=REPO,
        env=os.environ | {"PYTHONPATH": str(REPO)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run(*arguments: str, code: int = 0) -> str:
    """Runs a Python with our code; returns what it says."""
    process = start(*arguments)
    output = process.communicate()[0]
    assert process.returncode == code, output[-3000:]
    return output
