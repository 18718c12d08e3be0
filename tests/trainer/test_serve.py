"""The command: its flags, its messages, its exit codes, its end."""

import pathlib
import queue
import re
import signal
import socket
import subprocess
import sys
import threading

import pytest
import requests

from tests.conftest import REPO
from tests.trainer import exported
from trainer import serve
from trainer.serving import servable


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("models") / "colours"
    folder.mkdir()
    exported.export(folder / "1")
    return folder


@pytest.fixture(autouse=True)
def fresh_flags():
    yield
    serve._FLAGS.unparse_flags()


def refused(capsys, code: int, *flags: str) -> str:
    assert serve.main(["serve", *flags]) == code
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "--model is missing"),
        (["cats"], "'cats' is not a flag"),
        (["--model=nowhere"], "--model=nowhere: not there. Give the --output"),
        (["--modle=x"], "Unknown command line flag 'modle'"),
        (["--model=x", "--port=70000"], "port"),
        (["--model=x", "--batch_sizes=4,2"], "must be rising numbers"),
        (["--model=x", "--batch_sizes=0,2"], "must be rising numbers"),
        (["--model=x", "--batch_sizes=a"], "must be rising numbers"),
        (
            ["--model=x", "--max_queue=3"],
            "--max_queue=3 must be at least --max_pictures=128",
        ),
    ],
)
def test_wrong_use(capsys, flags: list[str], message: str) -> None:
    assert message in refused(capsys, 2, *flags)


def test_help_explains_every_flag(capsys) -> None:
    assert serve.main(["serve", "--help"]) == 0
    text = capsys.readouterr().out
    assert "docs/serving.md" in text
    for flag in ("model", "port", "max_queue", "batch_wait_ms", "timeout"):
        assert f"--{flag}" in text or f"--[no]{flag}" in text


def test_without_the_extra(capsys, monkeypatch) -> None:
    monkeypatch.setattr(serve, "_EXTRA", ("uvicorn", "not_there"))
    error = refused(capsys, 2, "--model=x")
    assert "not_there is not installed: run `pip install '.[serve]'`" in (error)


def test_a_port_that_is_taken(capsys, model: pathlib.Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        error = refused(capsys, 2, f"--model={model}", f"--port={port}")
    assert (
        f"--port={port} cannot be listened at: Address already in use" in error
    )


def test_no_version_that_works(capsys, tmp_path: pathlib.Path) -> None:
    broken = tmp_path / "colours" / "1"
    broken.mkdir(parents=True)
    (broken / servable.GRAPH).write_bytes(b"garbage")
    error = refused(capsys, 3, f"--model={broken.parent}", "--port=0")
    assert "no version can be loaded: version 1: " in error
    assert "has no lockstep.json" in error


def test_sigterm_ends_it_when_all_is_answered(model: pathlib.Path) -> None:
    """In a process of its own: it begins, answers, and is told to stop."""
    with subprocess.Popen(
        [sys.executable, "-m", "trainer.serve", f"--model={model}"]
        # The first of a batch waits for company long enough to be told.
        + ["--port=0", "--batch_wait_ms=1500", "--batch_sizes=8"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=REPO,
    ) as process:
        try:
            line = process.stdout.readline()
            found = re.fullmatch(
                r"colours, version 1, is served at (http://127.0.0.1:\d+)\n",
                line,
            )
            assert found, line + process.stderr.read()
            answers: queue.Queue = queue.Queue()

            def ask() -> None:
                answers.put(
                    requests.post(
                        f"{found[1]}/classify",
                        data=exported.picture("red"),
                        timeout=30,
                    )
                )

            threading.Thread(target=ask).start()
            while "lockstep_queue_pictures 1.0" not in (
                requests.get(f"{found[1]}/metrics", timeout=30).text
            ):
                pass
            process.send_signal(signal.SIGTERM)
            answer = answers.get(timeout=30)
            assert answer.json()["classes"][0]["class"] == "red"
            assert process.wait(30) == 0
            with pytest.raises(requests.ConnectionError):
                requests.get(f"{found[1]}/healthz", timeout=5)
        finally:
            process.kill()
