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


@pytest.mark.parametrize(
    ("environment", "devices", "virtual", "name", "reason"),
    [
        ({"HOROVOD_RANK": "0"}, {}, None, "horovod", "Horovod's launcher"),
        ({"LOCKSTEP_WORKERS": "a:1"}, {}, None, "multi_worker", "cluster"),
        ({"TF_CONFIG": "{}"}, {"GPU": 4}, None, "multi_worker", "cluster"),
        ({"TPU_NAME": "x"}, {}, None, "tpu", "TPU"),
        ({}, {"TPU": 8}, None, "tpu", "TPU"),
        ({}, {"GPU": 4}, None, "mirrored", "4 GPU"),
        ({}, {"GPU": 1}, None, "one_device", "1 GPU"),
        ({}, {}, None, "mirrored", "no GPU or TPU, 4 CPU"),
        ({}, {"GPU": 4}, 1, "one_device", "1 CPU"),
        ({"TF_CONFIG": "{}"}, {}, 2, "mirrored", "2 CPU"),
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


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tpu", "found no TPU.*TPU VM.*TPU_NAME"),
        ("multi_worker", "LOCKSTEP_WORKERS.*launch.local"),
    ],
)
def test_an_engine_that_cannot_start_says_what_is_missing(
    name: str, message: str
) -> None:
    answer = subprocess.run(
        [
            *(sys.executable, "-m", "trainer.main"),
            *("--gin_file=tests/tiny.gin", "--dry_run"),
            f'--gin_param=make_engine.name="{name}"',
        ],
        env={"PATH": "/usr/bin:/bin"},
        cwd=REPO,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert answer.returncode == 2, answer.stderr[-2000:]
    (line,) = [x for x in answer.stderr.splitlines() if x.startswith("error:")]
    assert re.search(message, line)
    assert "Traceback" not in answer.stderr


@pytest.mark.parametrize("name", ["one_device", "mirrored", "auto"])
@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("LOCKSTEP_WORKERS", "a:1,b:1"),
        ("HOROVOD_SIZE", "2"),
        ("OMPI_COMM_WORLD_SIZE", "2"),
    ],
)
def test_several_processes_are_not_several_trainings(
    monkeypatch, name: str, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    message = f"{variable} says that 2 have been started"
    with pytest.raises(errors.ConfigError, match=message):
        engines.make_engine(name, virtual_devices=4)
