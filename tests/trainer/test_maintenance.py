"""Notices of a metadata server of our own."""

import contextlib
import http.server
import os
import subprocess
import sys
import threading
import urllib.parse
from collections.abc import Iterator

import pytest

from tests.conftest import REPO
from tests.trainer.test_main import lines, tiny, wait_for_step
from trainer import actions, maintenance

SECONDS = 300
QUIET = {"maintenance-event": "NONE", "preempted": "FALSE"}


class Server(http.server.ThreadingHTTPServer):
    """Answers as Google's does, after as many failures as asked for."""

    daemon_threads = True

    def __init__(self, failures: int = 0, flavor: str = "Google") -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.flavor = flavor
        self.failures = failures
        self.asked: list[str] = []
        self.values = dict(QUIET)
        self.changed = threading.Condition()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server_port}"

    def announce(self, key: str, value: str) -> None:
        with self.changed:
            self.values[key] = value
            self.changed.notify_all()

    def wait_for(self, requests: int) -> None:
        with self.changed:
            assert self.changed.wait_for(
                lambda: len(self.asked) >= requests, SECONDS
            )


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server, url = self.server, urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        folder, _, key = url.path.rpartition("/")
        assert folder == "/computeMetadata/v1/instance"
        assert self.headers["Metadata-Flavor"] == "Google"
        assert query["wait_for_change"] == "true"
        with server.changed:
            server.asked.append(key)
            server.changed.notify_all()
            if server.failures:
                server.failures -= 1
                self.send_error(503)
                return
            server.changed.wait_for(
                lambda: self._tag(key) != query["last_etag"],
                float(query["timeout_sec"]),
            )
            value, tag = server.values[key], self._tag(key)
        self.send_response(200)
        self.send_header("Metadata-Flavor", server.flavor)
        self.send_header("ETag", tag)
        self.end_headers()
        self.wfile.write(value.encode())

    def _tag(self, key: str) -> str:
        return f"tag-{self.server.values[key]}"

    def log_message(self, *args: object) -> None:
        """Says nothing."""


@contextlib.contextmanager
def serving(**kwargs) -> Iterator[Server]:
    with Server(**kwargs) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()


def watchers() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name.startswith("metadata")]


def received(stop: actions.StopOnSignal) -> str | None:
    """What has stopped the run, once the thread that heard it has ended."""
    for thread in watchers():
        if thread.name == "metadata preempted":
            thread.join(SECONDS)
    return stop.received


def test_which_machines_have_a_metadata_server(tmp_path) -> None:
    name = tmp_path / "product_name"
    assert maintenance.server({}, str(name)) is None
    name.write_text("Standard PC (Q35 + ICH9, 2009)\n")
    assert maintenance.server({}, str(name)) is None
    assert maintenance.server({"GCE_METADATA_HOST": ""}, str(name)) is None
    elsewhere = {"GCE_METADATA_HOST": "127.0.0.1:8"}
    assert maintenance.server(elsewhere, str(name)) == "127.0.0.1:8"
    name.write_text("Google Compute Engine\n")
    assert maintenance.server({}, str(name)) == "metadata.google.internal"


def test_elsewhere_nothing_happens() -> None:
    with maintenance.watch(actions.StopOnSignal(), None):
        assert not watchers()


@pytest.mark.parametrize("failures", [0, 3])
def test_a_notice_stops_the_run(failures: int, caplog) -> None:
    stop = actions.StopOnSignal()
    with serving(failures=failures) as server:
        with maintenance.watch(stop, server.host):
            # Both have had their first answer, and wait for another.
            server.wait_for(4 + failures)
            assert stop.received is None
            # The machine moves without a stop.
            server.announce("maintenance-event", "MIGRATE_ON_HOST_MAINTENANCE")
            server.wait_for(5 + failures)
            assert stop.received is None
            server.announce("preempted", "TRUE")
            assert received(stop) == "maintenance notice"
        assert not watchers()
    assert "preempted is TRUE" in caplog.text
    # Trouble with the server is told once for a key, if at all.
    told = caplog.text.count("Trying again, without saying so")
    assert told == {0: 0, 3: 2}[failures]


def test_maintenance_that_ends_the_machine() -> None:
    stop = actions.StopOnSignal()
    with serving() as server:
        server.values["maintenance-event"] = "TERMINATE_ON_HOST_MAINTENANCE"
        with maintenance.watch(stop, server.host):
            for thread in watchers():
                if thread.name == "metadata maintenance-event":
                    thread.join(SECONDS)
            assert stop.received == "maintenance notice"


def test_a_signal_that_came_first_keeps_its_name() -> None:
    stop = actions.StopOnSignal()
    stop.received = "SIGTERM"
    with serving() as server:
        server.values["preempted"] = "TRUE"
        with maintenance.watch(stop, server.host):
            assert received(stop) == "SIGTERM"


def test_another_server_is_not_believed(caplog) -> None:
    stop = actions.StopOnSignal()
    with serving(flavor="Other") as server:
        server.values["preempted"] = "TRUE"
        with maintenance.watch(stop, server.host):
            server.wait_for(4)
            assert stop.received is None
    assert caplog.text.count("it is another server") == 2


@pytest.mark.parametrize("host", ["127.0.0.1:1", "127.0.0.1:port"])
def test_a_server_that_is_not_there(host: str, caplog) -> None:
    with maintenance.watch(actions.StopOnSignal(), host):
        pass
    assert not watchers()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_notice_to_one_process_stops_all_at_a_checkpoint(
    workers: int, tmp_path
) -> None:
    bindings = [
        'train.duration = "100000 steps"',
        'train.checkpoint_every = "100000 steps"',
        'train.log_every = "5 steps"',
        'train.evaluate_every = "100000 steps"',
    ]
    program = [sys.executable, "-m", "trainer.main"]
    if workers > 1:
        bindings.append('make_engine.name = "multi_worker"')
        launcher = [sys.executable, "-m", "launch.local"]
        # Only the last of them hears it, and it is not the chief.
        script = 'test "$LOCKSTEP_INDEX" = 1 || unset GCE_METADATA_HOST; '
        script += 'exec "$@"'
        launcher += [f"--workers={workers}", "--", "sh", "-c", script, "sh"]
        program = [*launcher, *program]
    with serving() as server:
        process = subprocess.Popen(
            [*program, *tiny(tmp_path, *bindings)],
            cwd=REPO,
            env=os.environ | {"GCE_METADATA_HOST": server.host},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        wait_for_step(tmp_path, 10)
        server.announce("maintenance-event", "TERMINATE_ON_HOST_MAINTENANCE")
        output = process.communicate(timeout=SECONDS)[0]
    assert process.returncode == 75, output[-5000:]
    assert output.count("maintenance-event is TERMINATE_ON_HOST") == 1
    assert output.count("maintenance notice: stopped at step") >= workers
    (checkpoint,) = (tmp_path / "checkpoints").iterdir()
    last = lines(tmp_path, "train")[-1]["step"]
    assert last <= int(checkpoint.name.removeprefix("step-")) < 100_000
