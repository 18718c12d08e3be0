"""The processes that make batches for the workers of this host."""

import sys
from collections.abc import Mapping, Sequence

from launch import processes


def start(
    addresses: Sequence[str], variables: Mapping[str, str], first: int
) -> list[processes.Worker]:
    """Starts a `launch.data_service` for each address.

    Args:
        addresses: "host:port" of each, on this host.
        variables: All their environment variables.
        first: Index of the first of them, after those of the workers.
    """
    return [
        processes.Worker(
            first + i,
            [sys.executable, "-m", "launch.data_service", f"--port={port}"],
            variables,
            name=f"data server {i}",
        )
        for i, (_, _, port) in enumerate(a.rpartition(":") for a in addresses)
    ]
