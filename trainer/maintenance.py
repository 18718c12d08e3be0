"""Hears that Google is about to take this machine, and stops the run in time.

The metadata server of a Compute Engine or TPU VM announces that the machine
will be terminated, up to an hour ahead for maintenance and 30 seconds for a
preemption. Source: cloud.google.com/compute/docs/metadata, "maintenance-event"
and "preempted". Elsewhere nothing happens.
"""

import contextlib
import http.client
import os
import socket
import threading
import urllib.parse
from collections.abc import Iterator, Mapping

from absl import logging

from trainer import actions

NOTICE = "maintenance notice"
# Keys of the instance, and what they say when the machine goes.
_ALARMS = {
    "maintenance-event": "TERMINATE_ON_HOST_MAINTENANCE",
    "preempted": "TRUE",
}
_HOST = "metadata.google.internal"
_PRODUCT_NAME = "/sys/class/dmi/id/product_name"
_PRODUCT = "Google Compute Engine"
_FLAVOR = {"Metadata-Flavor": "Google"}
# How long the server may keep a question open; then it is asked again.
_ANSWER_SECONDS = 60
_SLACK_SECONDS = 10
_SHORTEST_PAUSE = 1.0
_LONGEST_PAUSE = 60.0


def server(
    environment: Mapping[str, str] = os.environ,
    product_name: str = _PRODUCT_NAME,
) -> str | None:
    """Returns the host of the metadata server, or None on other machines.

    Args:
        environment: GCE_METADATA_HOST names another "host" or "host:port", as
            for Google's own libraries.
        product_name: A file with what the firmware says of the machine.
    """
    if environment.get("GCE_METADATA_HOST"):
        return environment["GCE_METADATA_HOST"]
    try:
        with open(product_name) as file:
            return _HOST if file.read().startswith(_PRODUCT) else None
    except OSError:
        return None


@contextlib.contextmanager
def watch(stop: actions.StopOnSignal, host: str | None) -> Iterator[None]:
    """Lets a notice stop the run, as a signal does, while the context lasts.

    Args:
        stop: Told of the notice.
        host: Of the metadata server; None: there is none.
    """
    watchers = [_Watcher(host, key, stop) for key in _ALARMS if host]
    for watcher in watchers:
        watcher.start()
    try:
        yield
    finally:
        for watcher in watchers:
            watcher.end()


class _Watcher(threading.Thread):
    """Waits for a key of the instance to say that the machine goes."""

    def __init__(self, host: str, key: str, stop: actions.StopOnSignal) -> None:
        super().__init__(name=f"metadata {key}", daemon=True)
        self._host = host
        self._key = key
        self._stop_run = stop
        self._over = threading.Event()
        self._connection: http.client.HTTPConnection | None = None

    def run(self) -> None:
        """Asks until the alarm comes or the run is over."""
        # The server answers at once where its value has another tag than this.
        tag, pause, complained = "0", _SHORTEST_PAUSE, False
        while not self._over.is_set():
            try:
                value, tag = self._ask(tag)
                pause = _SHORTEST_PAUSE
            except (OSError, http.client.HTTPException) as error:
                if not (complained or self._over.is_set()):
                    complained = True
                    logging.warning(
                        "The metadata server does not tell %s: %s. Trying "
                        "again, without saying so.",
                        self._key,
                        error or type(error).__name__,
                    )
                pause = min(2 * pause, _LONGEST_PAUSE)
            else:
                if value == _ALARMS[self._key]:
                    self._sound(value)
                    return
            self._over.wait(pause)

    def end(self) -> None:
        """Returns when the thread has ended; an open question is dropped."""
        self._over.set()
        asking = self._connection
        if asking is not None and asking.sock is not None:
            with contextlib.suppress(OSError):
                asking.sock.shutdown(socket.SHUT_RDWR)
        self.join(_SHORTEST_PAUSE)

    def _ask(self, tag: str) -> tuple[str, str]:
        """Returns the value and its tag, once it has another than `tag`.

        Raises:
            OSError: The server does not answer.
            http.client.HTTPException: It says something else.
        """
        query = urllib.parse.urlencode(
            {
                "wait_for_change": "true",
                "timeout_sec": _ANSWER_SECONDS,
                "last_etag": tag,
            }
        )
        # Not urllib: a proxy does not know this server.
        self._connection = http.client.HTTPConnection(
            self._host, timeout=_ANSWER_SECONDS + _SLACK_SECONDS
        )
        with contextlib.closing(self._connection) as asking:
            asking.request(
                "GET",
                f"/computeMetadata/v1/instance/{self._key}?{query}",
                headers=_FLAVOR,
            )
            answer = asking.getresponse()
            text = answer.read().decode(errors="replace").strip()
        if answer.status != http.client.OK:
            raise http.client.HTTPException(f"HTTP status {answer.status}")
        if answer.headers["Metadata-Flavor"] != _FLAVOR["Metadata-Flavor"]:
            raise http.client.HTTPException("it is another server")
        return text, answer.headers.get("ETag", "0")

    def _sound(self, value: str) -> None:
        logging.warning(
            "%s: %s is %s; stopping after the steps under way.",
            NOTICE,
            self._key,
            value,
        )
        self._stop_run.received = self._stop_run.received or NOTICE
