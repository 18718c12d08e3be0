"""Programs with a log."""

import contextlib
import os
import pathlib
import sys
import time

import psutil
import pytest

from launch import progress


@pytest.fixture
def shown() -> list[str]:
    return []


@pytest.fixture
def steps(tmp_path: pathlib.Path, shown: list[str]) -> progress.Progress:
    return progress.Progress(tmp_path / "deep" / "log", shown.append)


def test_output_is_kept_and_returned(steps, tmp_path) -> None:
    for word in ("one", "two"):
        script = f"echo {word}; echo err >&2; cat"
        assert steps.run(["sh", "-c", script], os.environ) == f"{word}\nerr\n"
    log = (tmp_path / "deep" / "log").read_text()
    assert log.index("$ sh -c echo one") < log.index("two")


def test_a_failure_shows_the_end_of_the_output(steps, tmp_path) -> None:
    with pytest.raises(progress.StepError) as raised:
        steps.run(["sh", "-c", "seq 1000; exit 7"], os.environ)
    lines = str(raised.value).splitlines()
    assert lines[:2] == ["961", "962"]
    assert "1000" in lines
    assert "exit code 7" in lines[-1]
    assert str(tmp_path / "deep" / "log") in lines[-1]


def test_who_takes_too_long_is_ended(steps, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(progress, "_POLL_SECONDS", 0.01)
    script = f"sleep 60 & echo $! > {tmp_path}/child; sleep 60"
    with pytest.raises(progress.StepError, match="no end after 0 s"):
        steps.run(["sh", "-c", script], os.environ, timeout=0.3)
    child = int((tmp_path / "child").read_text())
    with contextlib.suppress(psutil.NoSuchProcess):
        # Its parent is gone; whoever inherits it may not reap it.
        while psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.01)


def test_percents_are_shown(steps, shown, monkeypatch) -> None:
    monkeypatch.setattr(progress, "_POLL_SECONDS", 0.01)
    monkeypatch.setattr(progress, "_SHOW_SECONDS", 0.05)
    script = "import time; print('[  7%] Building', flush=True); time.sleep(1)"
    steps.run([sys.executable, "-S", "-c", script], os.environ)
    steps.step("done")
    assert "7 % compiled" in shown[0]
    assert shown[-1].endswith("s] done")
