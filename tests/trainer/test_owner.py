"""Tests of trainer/owner.py on a file system; tests/gcs has those of gs://."""

import errno
import fcntl
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import pytest

from tests.conftest import REPO
from trainer import errors, owner


def start(
    model_dir: pathlib.Path, engine: str = "one_device", *launcher: str
) -> subprocess.Popen:
    """Starts a training that does not end by itself."""
    return subprocess.Popen(
        [sys.executable, *launcher, "-m", "trainer.main"]
        + ["--gin_file=tests/tiny.gin", f"--model_dir={model_dir}"]
        + ["--gin_param=train.duration='1000000 steps'"]
        + [f"--gin_param=make_engine.name='{engine}'"],
        cwd=REPO,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_until_owned(by: subprocess.Popen, model_dir: pathlib.Path) -> None:
    """Waits until a training has begun to write."""
    deadline = time.monotonic() + 300
    path = model_dir / "OWNER"
    while not path.exists() or f'"pid": {by.pid},' not in path.read_text():
        assert by.poll() is None, by.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_two_trainers_on_one_model_dir(tmp_path: pathlib.Path) -> None:
    first = start(tmp_path)
    wait_until_owned(first, tmp_path)
    second = start(tmp_path)
    output = second.communicate()[0]
    assert second.returncode == 2, output
    assert (
        f"{tmp_path} is in use by process {first.pid} on "
        f"{socket.gethostname()}, since 20"
    ) in output
    assert "-m trainer.main --gin_file=tests/tiny.gin" in output
    assert "Wait until that has ended, stop it, or train in another" in output
    assert "Traceback" not in output
    assert first.poll() is None

    first.send_signal(signal.SIGKILL)
    first.wait()
    again = start(tmp_path)
    wait_until_owned(again, tmp_path)
    again.send_signal(signal.SIGTERM)
    output = again.communicate()[0]
    assert again.returncode == 75, output
    assert f"The former owner (process {first.pid} on" in output
    assert (tmp_path / "OWNER").read_bytes() == b""
    with owner.own(str(tmp_path)):
        pass


def test_the_workers_of_a_second_training_end_alike(
    tmp_path: pathlib.Path,
) -> None:
    with owner.own(str(tmp_path)):
        second = start(
            tmp_path,
            "multi_worker",
            *("-m", "launch.local", "--workers=2", "--engine=multi_worker"),
            *("--", sys.executable),
        )
        output = second.communicate()[0]
    assert second.returncode == 2, output
    assert f"is in use by process {os.getpid()} on" in output
    assert not (tmp_path / "run.json").exists()


def test_what_is_held_is_released(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    for error in (KeyboardInterrupt, SystemExit, ValueError):
        with pytest.raises(error), owner.own(str(tmp_path)):
            said = json.loads((tmp_path / "OWNER").read_text())
            assert said["pid"] == os.getpid()
            assert said["host"] == socket.gethostname()
            assert said["since"].endswith("+00:00")
            with (
                pytest.raises(errors.ConfigError, match=f"{os.getpid()} on"),
                owner.own(str(tmp_path)),
            ):
                raise AssertionError("held twice")
            raise error
    assert "former owner" not in caplog.text


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"pid": 1}', b"\xff"])
def test_an_owner_that_says_nothing(
    tmp_path: pathlib.Path, content: bytes
) -> None:
    (tmp_path / "OWNER").write_bytes(content)
    with open(tmp_path / "OWNER") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with (
            pytest.raises(errors.ConfigError, match="use by another process"),
            owner.own(str(tmp_path)),
        ):
            raise AssertionError("held twice")
    with owner.own(str(tmp_path)):
        pass


@pytest.mark.parametrize("number", [errno.ENOTSUP, errno.ENOLCK])
def test_a_file_system_without_locks(
    number: int, tmp_path: pathlib.Path, monkeypatch, caplog
) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with owner.own(str(tmp_path)):
        assert f'"pid": {os.getpid()}' in (tmp_path / "OWNER").read_text()
    assert f"has no locks ({os.strerror(number)})" in caplog.text


def test_an_owner_file_that_cannot_be_written(tmp_path: pathlib.Path) -> None:
    (tmp_path / "OWNER").mkdir()
    with (
        pytest.raises(errors.ConfigError, match="OWNER cannot be written"),
        owner.own(str(tmp_path)),
    ):
        raise AssertionError("held")


def test_what_a_killed_writer_left_is_removed(tmp_path) -> None:
    old = tmp_path / f"report.html.{'a' * 32}.tmp"
    new = tmp_path / f"run.json.{'b' * 32}.tmp"
    mine = tmp_path / "notes.tmp"
    for path in (old, new, mine):
        path.write_text("half")
    for path in (old, mine):
        os.utime(path, (1, 1))
    with owner.own(str(tmp_path)):
        assert sorted(tmp_path.glob("*.tmp")) == [mine, new]
