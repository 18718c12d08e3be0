"""Batches from servers are those that this process would make."""

import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest
import tensorflow as tf

from input import crops, diagnosis, errors, pipeline, service, sources, spec
from tests.conftest import REPO, write_dataset

SECONDS = 240


@contextlib.contextmanager
def server(port: int = 0) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A process that makes batches, and its address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "launch.data_service", f"--port={port}"],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(REPO)},
    )
    try:
        assert process.stdout is not None
        words = process.stdout.readline().split()
        assert words[:2] == ["serving", "at"]
        yield words[2], process
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def addresses() -> Iterator[list[str]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(server())[0] for _ in range(2)]


def data(directory: pathlib.Path, **kwargs) -> pipeline.TrainData:
    return pipeline.TrainData(
        source=sources.TFRecords(str(directory)), **kwargs
    )


def first(batches: tf.data.Dataset, count: int = 12) -> list[dict]:
    return list(batches.take(count).as_numpy_iterator())


@pytest.mark.parametrize("servers", [1, 2])
@pytest.mark.parametrize(
    ("host", "start", "micro_batches"),
    [
        (spec.HostShare(0, 1, 1), 0, 1),
        (spec.HostShare(0, 1, 1), 3, 1),
        (spec.HostShare(1, 2, 2), 1, 2),
    ],
)
def test_the_same_batches(
    tiny_data: pathlib.Path,
    addresses: list[str],
    servers: int,
    host: spec.HostShare,
    start: int,
    micro_batches: int,
) -> None:
    chosen = ",".join(addresses[:servers])
    crop = crops.RandomResizedCrop(3)
    expected, found = (
        first(
            data(tiny_data, decode=crop, service=s, shuffle_bytes=1000).dataset(
                host,
                global_batch_size=8,
                seed=5,
                start_step=start,
                micro_batches=micro_batches,
            )
        )
        for s in (None, chosen)
    )
    for mine, other in zip(found, expected, strict=True):
        assert mine.keys() == other.keys()
        for key in other:
            np.testing.assert_array_equal(mine[key], other[key], key)


def test_damage_is_found_behind_a_server(
    tmp_path: pathlib.Path, addresses: list[str]
) -> None:
    write_dataset(tmp_path)
    path = tmp_path / "train-00001-of-00003.tfrecord"
    content = bytearray(path.read_bytes())
    content[40] ^= 1
    path.write_bytes(content)
    split = data(tmp_path, service=addresses[0])
    with pytest.raises(errors.DataError, match="train-00001-of-00003.*byte 0"):
        with diagnosis.explained(split):
            first(
                split.dataset(
                    spec.HostShare(0, 1, 1), global_batch_size=12, seed=0
                )
            )


def test_a_server_that_was_started_anew_is_no_bad_data(
    tiny_data: pathlib.Path,
) -> None:
    with server() as (address, process):
        split = data(tiny_data, service=address)
        batches = iter(
            split.dataset(spec.HostShare(0, 1, 1), global_batch_size=4, seed=0)
        )
        next(batches)
        process.send_signal(signal.SIGKILL)
        process.wait()
        with server(int(address.rpartition(":")[2])):
            with pytest.raises(errors.ServiceError, match="newest checkpoint"):
                with diagnosis.explained(split):
                    # What had been fetched ahead is still there.
                    for _ in range(10_000_000):
                        next(batches)


def test_nobody_answers(tiny_data: pathlib.Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"grpc://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(
            errors.ServiceError, match=f"nobody answers at {address} after 0 s"
        ):
            service.distribute(lambda k, n: None, [address], patience=0)


def test_auto_takes_the_launcher_s_servers(monkeypatch) -> None:
    monkeypatch.delenv(service.ENVIRONMENT, raising=False)
    assert service.servers("auto") == service.servers(None) == ()
    monkeypatch.setenv(service.ENVIRONMENT, "grpc://a:1,grpc://[::1]:2")
    assert service.servers("auto") == ("grpc://a:1", "grpc://[::1]:2")
    assert service.servers("grpc://b:3") == ("grpc://b:3",)
    monkeypatch.setenv(service.ENVIRONMENT, "a:1")
    with pytest.raises(ValueError, match="'a:1', which must be grpc://host"):
        service.servers("auto")


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"service": "host:1"}, "'host:1', which must be grpc://host:port"),
        ({"service": "grpc://a:1,"}, "has '', which must be"),
        ({"service": "auto", "cache": "encoded"}, "do not go together"),
        (
            {"service": "auto", "on_corrupt": "skip_file"},
            'Use on_corrupt="fail", or no service',
        ),
    ],
)
def test_wrong_values(
    tiny_data: pathlib.Path, kwargs: dict, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        data(tiny_data, **kwargs)
