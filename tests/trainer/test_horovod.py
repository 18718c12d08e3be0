"""The engine's start; what it computes is in test_equivalence.py."""

import http.server
import signal
import subprocess
import sys
import threading
import time
import types

import numpy as np
import pytest

from tests.conftest import REPO, make_engine, make_recipe
from tests.trainer import horovod_sums
from trainer import errors, horovod, session


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
        self.server.asked.append(self.path)
        self.send_response(200 if self.path in self.server.kept else 404)
        self.end_headers()
        self.wfile.write(self.server.kept.get(self.path, b""))

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server():
    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Rendezvous)
    made.kept = {}
    made.asked = []
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


def meet(server, ranks: list[int], size: int, timeout: float) -> list[str]:
    """What each of some processes is told."""
    told = {}

    def process(rank: int) -> None:
        try:
            horovod._wait_for_all(environment(server, rank, size), timeout)
            told[rank] = ""
        except errors.EngineError as error:
            told[rank] = str(error)

    threads = [threading.Thread(target=process, args=[r]) for r in ranks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [told[r] for r in ranks]


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0]])
def test_all_come(server, order: list[int]) -> None:
    assert meet(server, order, 3, 20.0) == ["", "", ""]


def test_everyone_learns_who_is_absent(server) -> None:
    for message in meet(server, [0, 1], 4, 1.0):
        assert message.startswith("process 2, process 3 of 4 did not come")
        assert "within 1 s (make_engine.startup_timeout)" in message


def test_process_0_is_absent(server) -> None:
    server.kept["/lockstep/1"] = b"here"
    (message,) = meet(server, [2], 3, 0.5)
    assert message.startswith("process 0 of 3 did not come")


def test_only_process_0_asks_for_the_others(server) -> None:
    """Else a thousand processes would ask a million times in each round."""
    server.kept["/lockstep/0"] = b"here"
    told: list[str] = []
    other = threading.Thread(
        target=lambda: told.extend(meet(server, [2], 1000, 20.0))
    )
    other.start()
    while "/lockstep/0" not in server.asked:
        time.sleep(0.01)
    server.kept["/lockstep/absent"] = b"[]"
    other.join()
    assert told == [""]
    assert set(server.asked) == {"/lockstep/0", "/lockstep/absent"}


def test_a_late_process_0_gets_its_time(server, monkeypatch) -> None:
    """It is there when process 1's time is nearly over, and answers later."""
    times = iter([0.0, 19.9, 20.0, 39.0])
    answers = iter([None, b"", b"[2]"])
    monkeypatch.setattr(
        horovod,
        "time",
        types.SimpleNamespace(
            monotonic=lambda: next(times), sleep=lambda seconds: None
        ),
    )
    meeting = horovod._Meeting("http://unused/", 1, 3, 20.0)
    monkeypatch.setattr(meeting, "_put", lambda key, text: True)
    monkeypatch.setattr(meeting, "_get", lambda key: next(answers))
    assert meeting.hear() == [2]


def test_a_signal_ends_the_wait(server) -> None:
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "trainer.main"),
            *("--gin_file=tests/tiny.gin", "--dry_run"),
            '--gin_param=make_engine.name="horovod"',
            "--gin_param=make_engine.startup_timeout=600.0",
        ],
        env={"PATH": "/usr/bin:/bin"} | environment(server, 1, 2),
        cwd=REPO,
        stderr=subprocess.PIPE,
        text=True,
    )
    while "/lockstep/1" not in server.kept:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    log = process.communicate(timeout=120)[1]
    assert process.returncode == 75
    assert "SIGTERM: stopped. Nothing has been trained" in log


def test_one_process_waits_for_nobody() -> None:
    horovod._wait_for_all({}, 0.1)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        (
            {"HOROVOD_SIZE": "2", "HOROVOD_RANK": "0"},
            "HOROVOD_SIZE=2, but .*RENDEZVOUS_ADDR and .*_PORT do not.*task",
        ),
        ({"HOROVOD_SIZE": "two"}, "HOROVOD_SIZE='two'.*whole number"),
        ({"HOROVOD_RANK": "x"}, "HOROVOD_RANK='x'.*whole number"),
    ],
)
def test_half_a_place_is_none(variables, message: str) -> None:
    """Horovod itself would abort after 30 s."""
    with pytest.raises(errors.ConfigError, match=message):
        horovod._wait_for_all(variables, 0.1)


def test_mpi_has_its_own_meeting() -> None:
    horovod._wait_for_all(
        {"HOROVOD_SIZE": "2", "OMPI_COMM_WORLD_SIZE": "2"}, 0.1
    )


@pytest.mark.parametrize(
    ("variable", "value"),
    [("LOCKSTEP_WORKERS", "a:1,b:1"), ("OMPI_COMM_WORLD_SIZE", "2")],
)
def test_no_process_trains_alone_beside_the_others(
    monkeypatch, variable: str, value: str
) -> None:
    """They were started by a launcher that Horovod does not know."""
    hvd = types.SimpleNamespace(init=lambda: None, size=lambda: 1)
    monkeypatch.setattr(horovod, "_import", lambda: hvd)
    monkeypatch.setenv("LOCKSTEP_INDEX", "0")
    monkeypatch.setenv("HOROVOD_GLOO_TIMEOUT_SECONDS", "30")
    monkeypatch.setenv(variable, value)
    message = f"{variable} says that 2.*launch.local --engine=horovod"
    with pytest.raises(errors.ConfigError, match=message):
        horovod.start(1.0)


@pytest.mark.parametrize(("timeout", "expected"), [(1.0, "30"), (99.5, "100")])
def test_gloo_waits_as_long_as_we_do(
    monkeypatch, timeout: float, expected: str
) -> None:
    found = []
    variable = "HOROVOD_GLOO_TIMEOUT_SECONDS"
    hvd = types.SimpleNamespace(
        init=lambda: found.append(horovod.os.environ[variable]),
        rank=lambda: 0,
        size=lambda: 1,
    )
    monkeypatch.setattr(horovod, "_import", lambda: hvd)
    monkeypatch.setattr(horovod.os, "environ", {})
    horovod.start(timeout)
    horovod.os.environ[variable] = "7"
    horovod.start(timeout)
    assert found == [expected, "7"]


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> list[dict[str, np.ndarray]]:
    """What each of two real processes has found."""
    output = tmp_path_factory.mktemp("sums") / "found"
    answer = subprocess.run(
        [
            *(sys.executable, "-m", "launch.local", "--workers=2"),
            *("--engine=horovod", "--", sys.executable, "-m"),
            *("tests.trainer.horovod_sums", str(output)),
        ],
        cwd=REPO,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert answer.returncode == 0, answer.stderr[-5000:]
    return [dict(np.load(f"{output}-{rank}.npz")) for rank in range(2)]


@pytest.mark.parametrize(
    ("name", "epsilon"),
    [("bfloat16", 2.0**-8), ("float16", 2.0**-11), ("float32", 2.0**-24)],
)
def test_sums_in_each_format(two, name: str, epsilon: float) -> None:
    """Terms and sum are rounded once each; every process has the same bits."""
    terms = zip(*map(horovod_sums.inputs, range(2)), strict=True)
    for i, (a, b) in enumerate(terms):
        found = two[0][f"{name}/{i}"]
        assert found.shape == a.shape
        limit = 2.1 * epsilon * (np.abs(a) + np.abs(b))
        assert (np.abs(found - (a + b)) <= limit).all()
        assert found.tobytes() == two[1][f"{name}/{i}"].tobytes()


def test_a_training_with_bfloat16_on_the_wire(two) -> None:
    parts = session.build(make_recipe(), make_engine(1))
    parts.take_steps(0)(horovod_sums.STEPS)
    for i, weights in enumerate(parts.state.model.trainable_variables):
        found = two[0][f"weights/{i}"]
        np.testing.assert_allclose(found, np.asarray(weights), atol=5e-3)
        assert found.tobytes() == two[1][f"weights/{i}"].tobytes()


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
