"""Whether the other worker processes have come.

TensorFlow waits long for a worker that does not come and does not say which
one. So the workers meet here first: worker 0 listens where TensorFlow will, the
others report to it, and it tells everyone who is missing.
"""

import contextlib
import json
import selectors
import socket
import time
from collections.abc import Mapping
from typing import Any

from absl import logging

from trainer import cluster as cluster_lib
from trainer import errors

_RETRY_SECONDS = 0.2
_REMIND_SECONDS = 30.0
_GREETING_BYTES = 1024


def wait_for_all(cluster: cluster_lib.Cluster, timeout: float) -> None:
    """Returns when all workers have started; every worker must call it.

    Worker 0 decides who is absent, `timeout` after it has come itself. Who has
    reached it waits for that, even past a time-out of its own.

    Args:
        cluster: Who is expected.
        timeout: Seconds to wait, above 0.

    Raises:
        errors.ConfigError: Another process is the same worker.
        errors.EngineError: Someone did not come in time; the message says who.
    """
    if len(cluster.addresses) == 1:
        return
    if cluster.index == 0:
        absent = _gather(cluster, timeout)
    else:
        absent = _report(cluster, timeout)
    if absent:
        raise errors.EngineError(
            f"{absent} did not come within {timeout:.0f} s "
            "(make_engine.startup_timeout). See its log for why, and whether "
            "this host can reach its address; then start all workers again."
        )


def _gather(cluster: cluster_lib.Cluster, timeout: float) -> str:
    """Worker 0's part: returns who is absent, as text, after telling all."""
    here: dict[int, socket.socket] = {}
    expected = set(range(1, len(cluster.addresses)))
    deadline = time.monotonic() + timeout
    reminder = time.monotonic() + _REMIND_SECONDS
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(_listen(cluster))
        chooser = stack.enter_context(selectors.DefaultSelector())
        chooser.register(server, selectors.EVENT_READ)
        while here.keys() != expected:
            ready = chooser.select(_RETRY_SECONDS)
            # Who has knocked in time is let in.
            if not ready and time.monotonic() > deadline:
                break
            for key, _ in ready:
                if key.fileobj is server:
                    peer = stack.enter_context(server.accept()[0])
                    chooser.register(peer, selectors.EVENT_READ, peer)
                elif not _greets(key.data, here, cluster):
                    chooser.unregister(key.data)
                    key.data.close()
            if time.monotonic() > reminder:
                reminder += _REMIND_SECONDS
                logging.info("Waiting for %s.", _names(cluster, here))
        absent = _names(cluster, here)
        for peer in here.values():
            with contextlib.suppress(OSError):
                peer.sendall(json.dumps({"absent": absent}).encode() + b"\n")
        return absent


def _names(cluster: cluster_lib.Cluster, here: Mapping[int, Any]) -> str:
    indices = range(1, len(cluster.addresses))
    return ", ".join(cluster.name(i) for i in indices if i not in here)


def _listen(cluster: cluster_lib.Cluster) -> socket.socket:
    port = int(cluster.addresses[0].rpartition(":")[2])
    server = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        server.bind(("", port))
        server.listen(1024)
    except OSError as error:
        server.close()
        raise errors.EngineError(
            f"{cluster.name(0)} cannot listen on port {port}: {error}. "
            "Another process has it; choose another port."
        ) from error
    return server


def _greets(
    peer: socket.socket,
    here: dict[int, socket.socket],
    cluster: cluster_lib.Cluster,
) -> bool:
    """Notes who has called; returns False for who is not of us, or gone.

    A worker says one thing, who it is. What comes after that is its end.
    """
    for index, known in here.items():
        if known is peer:
            del here[index]
            return False
    try:
        index = int(json.loads(peer.recv(_GREETING_BYTES))["index"])
    except (OSError, ValueError, KeyError, TypeError):
        return False
    if not 0 < index < len(cluster.addresses):
        return False
    if index in here:
        _refuse(peer, here[index], cluster.name(index))
        return False
    here[index] = peer
    return True


def _refuse(peer: socket.socket, first: socket.socket, name: str) -> None:
    """Tells a caller that another process is who it says to be."""
    with contextlib.suppress(OSError):
        text = (
            f"Two processes say that they are {name}: the first has come from "
            f"{first.getpeername()[0]}, another from {peer.getpeername()[0]}. "
            f"Give each its own LOCKSTEP_INDEX, or index in TF_CONFIG, and end "
            "what is left of an earlier start."
        )
        logging.warning("%s", text)
        peer.sendall(json.dumps({"refused": text}).encode() + b"\n")


def _report(cluster: cluster_lib.Cluster, timeout: float) -> str:
    """The others' part: returns who is absent, as worker 0 says.

    Raises:
        errors.ConfigError: Another process is the same worker.
        errors.EngineError: Worker 0 has come and gone without a word.
    """
    host, _, port = cluster.addresses[0].rpartition(":")
    deadline = time.monotonic() + timeout
    reached = False
    while (left := deadline - time.monotonic()) > 0:
        try:
            with socket.create_connection((host, int(port)), left) as peer:
                peer.sendall(json.dumps({"index": cluster.index}).encode())
                # Its clock may have started just now.
                peer.settimeout(timeout + _REMIND_SECONDS)
                with peer.makefile() as answers:
                    reached = True
                    answer = json.loads(answers.readline())
                if "refused" not in answer:
                    return answer["absent"]
                raise errors.ConfigError(answer["refused"])
        except errors.ConfigError:
            raise
        except (OSError, ValueError, KeyError, TypeError):
            time.sleep(_RETRY_SECONDS)
    if reached:
        raise errors.EngineError(
            f"{cluster.name(0)} came, but ended before all workers were there. "
            "See its log for why; then start all workers again."
        )
    return cluster.name(0)
