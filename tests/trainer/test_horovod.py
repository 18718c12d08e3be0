"""The engine's start; what it computes is in test_equivalence.py."""

import http.server
import subprocess
import sys
import threading
import types

import pytest

from tests.conftest import REPO
from trainer import errors, horovod


def test_it_is_launched_by_horovods_variables() -> None:
    assert horovod.is_launched({"HOROVOD_RANK": "0"})
    assert not horovod.is_launched({})


@pytest.mark.parametrize(
    ("raised", "message"),
    [
        (
            ModuleNotFoundError("No module named 'horovod'"),
            "not installed.*launch.install_horovod",
        ),
        (
            ImportError("undefined symbol: _ZN10tensorflow"),
            "does not work with TensorFlow 2.*undefined symbol.*install_",
        ),
    ],
)
def test_what_is_missing_is_said(monkeypatch, raised, message) -> None:
    class Broken:
        def find_spec(self, name, path=None, target=None):
            if name.split(".")[0] == "horovod":
                raise raised

    for name in [n for n in sys.modules if n.split(".")[0] == "horovod"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    with pytest.raises(errors.ConfigError, match=message):
        horovod.start(1.0)


class Rendezvous(http.server.BaseHTTPRequestHandler):
    """As Horovod's: keeps what is put, 404 for the rest."""

    def do_PUT(self) -> None:
        size = int(self.headers["Content-Length"])
        self.server.kept[self.path] = self.rfile.read(size)
        self.send_response(200)
        self.end_headers()

    def do_GET(self) -> None:
        self.send_response(200 if self.path in self.server.kept else 404)
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server():
    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Rendezvous)
    made.kept = {}
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


def environment(server, rank: int, size: int) -> dict[str, str]:
    return {
        "HOROVOD_RANK": str(rank),
        "HOROVOD_SIZE": str(size),
        "HOROVOD_GLOO_RENDEZVOUS_ADDR": "127.0.0.1",
        "HOROVOD_GLOO_RENDEZVOUS_PORT": str(server.server_port),
    }


def test_all_come(server) -> None:
    others = [
        threading.Thread(
            target=horovod._wait_for_all, args=[environment(server, i, 3), 20.0]
        )
        for i in (1, 2)
    ]
    for other in others:
        other.start()
    horovod._wait_for_all(environment(server, 0, 3), 20.0)
    for other in others:
        other.join()


def test_the_absent_are_named(server) -> None:
    server.kept["/lockstep/1"] = b"here"
    with pytest.raises(errors.EngineError, match="process 2, process 3 of 4"):
        horovod._wait_for_all(environment(server, 0, 4), 0.5)


def test_one_process_waits_for_nobody() -> None:
    horovod._wait_for_all({}, 0.1)


def test_a_process_without_a_gpu_of_its_own(monkeypatch) -> None:
    hvd = types.SimpleNamespace(
        init=lambda: None, local_rank=lambda: 2, size=lambda: 3
    )
    monkeypatch.setattr(horovod, "_import", lambda: hvd)
    monkeypatch.setattr(
        horovod.tf.config, "list_physical_devices", lambda kind: ["GPU:0"] * 2
    )
    with pytest.raises(errors.ConfigError, match="Process 2.*are 2"):
        horovod.start(1.0)


def test_each_process_sees_its_own_gpu(monkeypatch) -> None:
    seen = []
    hvd = types.SimpleNamespace(
        init=lambda: None,
        local_rank=lambda: 1,
        size=lambda: 2,
        rank=lambda: 1,
    )
    monkeypatch.setattr(horovod, "_import", lambda: hvd)
    config = horovod.tf.config
    monkeypatch.setattr(
        config, "list_physical_devices", lambda kind: ["GPU:0", "GPU:1"]
    )
    monkeypatch.setattr(
        config, "set_visible_devices", lambda *args: seen.append(args)
    )
    made = horovod.start(1.0)
    assert seen == [("GPU:1", "GPU")]
    assert (made.host.index, made.host.count, made.num_replicas) == (1, 2, 2)


def test_trainer_says_how_to_get_horovod(tmp_path) -> None:
    (tmp_path / "horovod").mkdir()
    (tmp_path / "horovod" / "__init__.py").write_text(
        "raise ModuleNotFoundError(\"No module named 'horovod'\")"
    )
    answer = subprocess.run(
        [
            *(sys.executable, "-m", "trainer.main"),
            *("--gin_file=tests/tiny.gin", "--dry_run"),
            '--gin_param=make_engine.name="horovod"',
        ],
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(tmp_path)},
        cwd=REPO,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 2
    assert "python -m launch.install_horovod" in answer.stderr
    assert "Traceback" not in answer.stderr
