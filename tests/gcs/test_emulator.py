"""The emulator itself: what the other tests of gs:// stand on."""

import socket
import sys
import urllib.parse

import pytest
import tensorflow as tf

from input import gcs
from tests.gcs.conftest import run


def test_both_clients_see_the_same_objects(folder: str) -> None:
    tf.io.gfile.makedirs(f"{folder}/a/b")
    with tf.io.gfile.GFile(f"{folder}/a/by_tensorflow", "wb") as file:
        file.write(b"x" * 3_000_000)
    assert gcs.read(f"{folder}/a/by_tensorflow").content == b"x" * 3_000_000
    # Above 8 MB the client uploads in parts.
    gcs.write(f"{folder}/a/by_client", b"y" * 9_000_000)
    with tf.io.gfile.GFile(f"{folder}/a/by_client", "rb") as file:
        assert file.read() == b"y" * 9_000_000
    assert sorted(tf.io.gfile.listdir(f"{folder}/a")) == [
        "b/",
        "by_client",
        "by_tensorflow",
    ]
    tf.io.gfile.rename(f"{folder}/a/by_client", f"{folder}/c")
    assert gcs.sizes(folder)["c"] == 9_000_000
    tf.io.gfile.rename(f"{folder}/a", f"{folder}/d")
    assert gcs.sizes(folder)["d/by_tensorflow"] == 3_000_000
    tf.io.gfile.rename(f"{folder}/d", f"{folder}/a")
    tf.io.gfile.rmtree(f"{folder}/a")
    assert gcs.sizes(folder) == {"c": 9_000_000}
    assert not tf.io.gfile.exists(f"{folder}/a/by_client")


@pytest.mark.parametrize("size", [10, 9_000_000])
def test_preconditions(folder: str, size: int) -> None:
    first = gcs.write(f"{folder}/x", b"1" * size, 0)
    second = gcs.write(f"{folder}/x", b"2" * size, first)
    for generation in (0, first):
        with pytest.raises(gcs.ChangedError):
            gcs.write(f"{folder}/x", b"3" * size, generation)
        with pytest.raises(gcs.ChangedError):
            gcs.remove(f"{folder}/x", first)
    assert gcs.read(f"{folder}/x") == gcs.Object(b"2" * size, second)
    gcs.remove(f"{folder}/x", second)
    assert not gcs.exists(f"{folder}/x")


def test_a_request_that_is_cut_off_leaves_nothing(
    folder: str, emulator: dict[str, str]
) -> None:
    name = f"{folder}/half"
    host = urllib.parse.urlparse(emulator["STORAGE_EMULATOR_HOST"])
    with socket.create_connection((host.hostname, host.port)) as connection:
        connection.sendall(
            b"POST /upload/storage/v1/b/b/o?uploadType=media&name="
            + name.removeprefix("gs://b/").encode()
            + b" HTTP/1.1\r\nContent-Length: 100\r\n\r\nonly a part"
        )
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(100) == b""
    assert not gcs.exists(name)


def test_a_command_has_a_bucket_and_keeps_its_exit_code() -> None:
    code = (
        "import sys; from input import gcs;"
        "gcs.write('gs://mine/x', b'here');"
        "print(gcs.read('gs://mine/x').content.decode());"
        "sys.exit(7)"
    )
    command = ["-m", "tests.gcs_emulator", "--bucket=mine"]
    assert "here" in run(*command, sys.executable, "-c", code, code=7)
