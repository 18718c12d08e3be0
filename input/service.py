"""Batches made by other processes, in the order they would have here.

Each server (launch/data_service.py) is a tf.data service of one worker. Server
k of n makes the batches k, k + n, k + 2n, ... of a host, and the host takes
turns: the stream is the same at any number of servers, and without any. One
service with n workers could not do that: it gives its batches as they come.
"""

import os
import re
import socket
import time
from collections.abc import Callable, Sequence

import tensorflow as tf
from absl import logging

from input import errors

ENVIRONMENT = "LOCKSTEP_DATA_SERVICE"
AUTO = "auto"

_ADDRESS = re.compile(r"grpc://([^\s,/:]+|\[[^\s,/]+\]):(\d{1,5})")
# Starting TensorFlow in the servers takes seconds, on a busy host many.
_PATIENCE = 120.0
_PAUSE = 0.5

MakePart = Callable[[int, int], tf.data.Dataset]


def check(service: str | None) -> None:
    """Raises ValueError where `service` is not of the form it must have."""
    if service is None or service == AUTO:
        return
    for address in service.split(","):
        if not _ADDRESS.fullmatch(address):
            raise ValueError(
                f"service={service!r} has {address!r}, which must be "
                "grpc://host:port. Several are separated by commas; "
                f'"auto" takes them from the variable {ENVIRONMENT}.'
            )


def servers(service: str | None) -> tuple[str, ...]:
    """Returns the addresses of the servers; nothing where there are none.

    Raises:
        ValueError: An address is not of the form it must have.
    """
    if service == AUTO:
        service = os.environ.get(ENVIRONMENT) or None
    check(service)
    return tuple(service.split(",")) if service else ()


def distribute(
    make_part: MakePart,
    addresses: Sequence[str],
    patience: float = _PATIENCE,
) -> tf.data.Dataset:
    """Returns the batches of a stream that several servers make.

    Args:
        make_part: Called with k and n; returns the batches k, k + n, ... of
            the endless stream.
        addresses: Of the servers, at least one.
        patience: Seconds to wait until they all answer.

    Raises:
        errors.ServiceError: One does not answer.
    """
    _wait(addresses, patience)
    off = tf.data.experimental.service.ShardingPolicy.OFF
    parts = [
        make_part(k, len(addresses)).apply(
            tf.data.experimental.service.distribute(
                # A server with one worker gives its batches in order.
                off,
                address,
                # Pixels hardly become smaller, but cost time.
                compression=None,
            )
        )
        for k, address in enumerate(addresses)
    ]
    logging.info("Batches come from %s.", ", ".join(addresses))
    if len(parts) == 1:
        return parts[0]
    turns = tf.data.Dataset.range(len(parts)).repeat()
    return tf.data.Dataset.choose_from_datasets(parts, turns)


def is_lost(error: tf.errors.OpError) -> bool:
    """Returns whether an error says that a server has been started anew."""
    return isinstance(error, tf.errors.NotFoundError) and (
        "Unknown iteration client id" in error.message
    )


def _wait(addresses: Sequence[str], patience: float) -> None:
    deadline = time.monotonic() + patience
    for address in addresses:
        host, port = _ADDRESS.fullmatch(address).groups()  # type: ignore
        said = False
        while True:
            try:
                socket.create_connection(
                    (host.strip("[]"), int(port)), timeout=5.0
                ).close()
                break
            except OSError as error:
                if time.monotonic() > deadline:
                    raise errors.ServiceError(
                        f"train_data.service: nobody answers at {address} "
                        f"after {patience:.0f} s ({error}). Start it there "
                        "(python -m launch.data_service), or leave "
                        "train_data.service out."
                    ) from error
            if not said:
                logging.info(
                    "Waiting for the data server at %s, up to %.0f s.",
                    address,
                    patience,
                )
                said = True
            time.sleep(_PAUSE)
