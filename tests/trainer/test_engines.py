"""How an engine is chosen; what engines compute is in test_engine.py."""

import re
import signal
import subprocess
import sys

import pytest
import tensorflow as tf

from tests.conftest import REPO
from trainer import engines, errors

OURS = ("HOROVOD_RANK", "LOCKSTEP_WORKERS", "TF_CONFIG", "TPU_NAME")
TWO_WORKERS = (
    '{"cluster": {"worker": ["a:1", "b:1"]}, '
    '"task": {"type": "worker", "index": 1}}'
)
EVALUATOR = TWO_WORKERS.replace('"type": "worker"', '"type": "evaluator"')


@pytest.mark.parametrize(
    ("environment", "devices", "virtual", "name", "reason"),
    [
        ({"HOROVOD_RANK": "0"}, {}, None, "horovod", "Horovod's launcher"),
        ({"LOCKSTEP_WORKERS": "a:1"}, {}, None, "multi_worker", "cluster"),
        ({"TF_CONFIG": TWO_WORKERS}, {}, None, "multi_worker", "cluster"),
        ({"TF_CONFIG": "{}"}, {"GPU": 4}, None, "mirrored", "4 GPU"),
        ({"TF_CONFIG": ""}, {"GPU": 1}, None, "one_device", "1 GPU"),
        ({"TPU_NAME": "x"}, {}, None, "tpu", "TPU_NAME names one"),
        ({"TPU_NAME": ""}, {"GPU": 1}, None, "one_device", "1 GPU"),
        ({}, {"TPU": 8}, None, "tpu", "TPU"),
        ({}, {"GPU": 4}, None, "mirrored", "4 GPU"),
        ({}, {"GPU": 1}, None, "one_device", "1 GPU"),
        ({}, {}, None, "mirrored", "no GPU or TPU, 4 CPU"),
        ({}, {"GPU": 4}, 1, "one_device", "1 CPU"),
        ({"TF_CONFIG": TWO_WORKERS}, {}, 2, "mirrored", "2 CPU"),
    ],
)
def test_auto_picks_from_what_is_visible(
    monkeypatch, environment, devices, virtual, name, reason
) -> None:
    for variable in OURS:
        monkeypatch.delenv(variable, raising=False)
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setattr(
        tf.config,
        "list_physical_devices",
        lambda kind: ["device"] * devices.get(kind, 0),
    )
    found, why = engines._choose(virtual)
    assert found == name
    assert reason in why


@pytest.mark.parametrize("name", ["multi_worker", "horovod", "tpu"])
def test_virtual_devices_are_for_one_process(name: str) -> None:
    with pytest.raises(errors.ConfigError, match=f"virtual_devices=2.*{name}"):
        engines.make_engine(name, virtual_devices=2)


def test_virtual_devices_hide_the_gpus(monkeypatch) -> None:
    hidden = []
    monkeypatch.setattr(
        tf.config, "set_visible_devices", lambda *given: hidden.append(given)
    )
    made = engines.make_engine("mirrored", virtual_devices=4)
    assert hidden == [([], "GPU")]
    assert made.num_replicas == 4


def test_virtual_devices_after_the_gpus_have_started(monkeypatch) -> None:
    def refuse(*given: object) -> None:
        raise RuntimeError("Visible devices cannot be modified")

    monkeypatch.setattr(tf.config, "set_visible_devices", refuse)
    counts = {"CPU": 4, "GPU": 1}
    monkeypatch.setattr(
        tf.config,
        "list_logical_devices",
        lambda kind: ["device"] * counts[kind],
    )
    with pytest.raises(errors.ConfigError, match=r"with 4 CPU .* and 1 GPU"):
        engines.make_engine("mirrored", virtual_devices=4)


def test_a_tpu_gives_sigterm_back(monkeypatch) -> None:
    def connect(name: str) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise ValueError(f"no TPU {name}")

    resolvers = tf.distribute.cluster_resolver
    monkeypatch.setattr(resolvers, "TPUClusterResolver", connect)
    monkeypatch.setenv("TPU_NAME", "tpu1")
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(errors.ConfigError, match="no TPU tpu1 Run on"):
            engines.make_engine("tpu")
        assert signal.getsignal(signal.SIGTERM) is before
    finally:
        signal.signal(signal.SIGTERM, before)


def test_timeout_must_be_positive() -> None:
    with pytest.raises(errors.ConfigError, match="startup_timeout=0.0.*above"):
        engines.make_engine(startup_timeout=0.0)


NO_METADATA = {"GCE_METADATA_IP": "127.0.0.1:1"}


@pytest.mark.parametrize(
    ("name", "environment", "code", "message"),
    [
        ("tpu", {"TPU_NAME": ""}, 2, "found no TPU.*TPU VM.*TPU_NAME"),
        # Nobody can be asked where it is.
        ("auto", NO_METADATA | {"TPU_NAME": "foo"}, 2, "no TPU.*'foo' was"),
        (
            "tpu",
            {"TPU_NAME": "grpc://127.0.0.1:1"},
            1,
            "TPU host 127.0.0.1:1 does not answer within 1 s.*startup_timeout",
        ),
        ("multi_worker", {}, 2, "LOCKSTEP_WORKERS.*launch.local"),
    ],
)
def test_an_engine_that_cannot_start_says_what_is_missing(
    name: str, environment: dict[str, str], code: int, message: str
) -> None:
    answer = subprocess.run(
        [
            *(sys.executable, "-m", "trainer.main"),
            *("--gin_file=tests/tiny.gin", "--dry_run"),
            f'--gin_param=make_engine.name="{name}"',
            "--gin_param=make_engine.startup_timeout=1.0",
        ],
        env={"PATH": "/usr/bin:/bin"} | environment,
        cwd=REPO,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert answer.returncode == code, answer.stderr[-2000:]
    (line,) = [x for x in answer.stderr.splitlines() if x.startswith("error:")]
    assert re.search(message, line)
    assert "Traceback" not in answer.stderr


@pytest.mark.parametrize("name", ["one_device", "mirrored", "auto"])
@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("LOCKSTEP_WORKERS", "a:1,b:1"),
        ("TF_CONFIG", TWO_WORKERS),
        ("HOROVOD_SIZE", "2"),
        ("OMPI_COMM_WORLD_SIZE", "2"),
        ("SLURM_STEP_NUM_TASKS", "2"),
    ],
)
def test_several_processes_are_not_several_trainings(
    monkeypatch, name: str, variable: str, value: str
) -> None:
    monkeypatch.setenv("LOCKSTEP_INDEX", "0")
    monkeypatch.setenv(variable, value)
    message = f"{variable} says that 2 have been started"
    with pytest.raises(errors.ConfigError, match=message):
        engines.make_engine(name, virtual_devices=4)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("TF_CONFIG", EVALUATOR),
        ("TF_CONFIG", "{}"),
        # The shell of a batch job is one process, whatever it will start.
        ("SLURM_NTASKS", "2"),
        ("SLURM_STEP_NUM_TASKS", "1"),
        ("HOROVOD_SIZE", ""),
    ],
)
def test_one_process_among_others_of_a_job(
    monkeypatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    assert engines.make_engine("mirrored", virtual_devices=4).num_replicas == 4


def test_a_number_of_processes_that_is_none(monkeypatch) -> None:
    monkeypatch.setenv("HOROVOD_SIZE", "two")
    with pytest.raises(errors.ConfigError, match="HOROVOD_SIZE='two'.*whole"):
        engines.make_engine("one_device")
