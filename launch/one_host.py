"""The places of several processes on this host."""

import contextlib
import socket
from collections.abc import Iterator

from launch import environment, rendezvous

_LOOPBACK = "127.0.0.1"
_INTERFACE = "lo"


@contextlib.contextmanager
def places(engine: str, workers: int) -> Iterator[list[dict[str, str]]]:
    """Yields the variables that tell each process its place.

    They hold while the context lasts, for one start of the processes.

    Args:
        engine: "multi_worker" or "horovod".
        workers: How many processes, at least 1.

    Raises:
        rendezvous.MissingHorovodError: Horovod cannot be imported.
    """
    if engine == "multi_worker":
        addresses = free_addresses(workers)
        yield [environment.multi_worker(addresses, i) for i in range(workers)]
        return
    with rendezvous.serve([(_LOOPBACK, workers)], _LOOPBACK) as port:
        yield [
            environment.horovod(
                rank=i,
                size=workers,
                local_rank=i,
                local_size=workers,
                cross_rank=0,
                cross_size=1,
                hostname=_LOOPBACK,
                rendezvous_host=_LOOPBACK,
                rendezvous_port=port,
                interface=_INTERFACE,
            )
            for i in range(workers)
        ]


def free_addresses(number: int) -> list[str]:
    """Returns addresses of this host that nobody listens on just now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for each in sockets:
            each.bind((_LOOPBACK, 0))
        return [f"{_LOOPBACK}:{each.getsockname()[1]}" for each in sockets]
