"""Horovod's rendezvous server, where its processes find each other.

Every start of a set of processes needs a server of its own: one that has served
remembers the addresses of processes that are gone.
"""

import contextlib
import importlib
import threading
from collections.abc import Iterator, Sequence
from types import ModuleType

INSTALL_COMMAND = "python -m launch.install_horovod"


class MissingHorovodError(RuntimeError):
    """Horovod is not installed, or without its launcher's part."""


def _import() -> tuple[ModuleType, ModuleType]:
    """Returns Horovod's modules of hosts and of the server."""
    try:
        return (
            importlib.import_module("horovod.runner.common.util.hosts"),
            importlib.import_module("horovod.runner.http.http_server"),
        )
    except ImportError as error:
        raise MissingHorovodError(
            f"Horovod cannot be imported ({error}). Install it with "
            f"`{INSTALL_COMMAND}`, which builds it for the TensorFlow of this "
            "environment."
        ) from error


def check_installed() -> None:
    """Raises MissingHorovodError if a server could not be started."""
    _import()


@contextlib.contextmanager
def serve(
    hosts: Sequence[tuple[str, int]], address: str = "", port: int = 0
) -> Iterator[int]:
    """Runs the server in a thread of this process while the context lasts.

    Args:
        hosts: Name and number of processes of each host; ranks count up in this
            order. The names are those of HOROVOD_HOSTNAME.
        address: Address to listen on; "127.0.0.1" keeps others out. Default:
            all of this host's.
        port: Port to listen on, 0 for any that is free.

    Yields:
        The port.

    Raises:
        MissingHorovodError: Horovod cannot be imported.
        OSError: The port is taken.
    """
    hosts_module, server_module = _import()
    plan = hosts_module.get_host_assignments(
        [hosts_module.HostInfo(name, slots) for name, slots in hosts],
        sum(slots for _, slots in hosts),
    )
    server = server_module.RendezvousHTTPServer(
        (address, port), server_module.RendezvousHandler, 0
    )
    # A process that was killed in mid-request must not keep us from ending.
    server.daemon_threads = True
    with server:
        server.init(plan)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()
