"""Who holds a directory: what the file OWNER says."""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
import shlex
import socket
import sys
import uuid

from trainer import errors

FILE_NAME = "OWNER"
OTHERWISE = "train in another --model_dir"


@dataclasses.dataclass(frozen=True)
class Owner:
    """Who holds a model_dir.

    Attributes:
        host: Name of its machine.
        pid: Of its process there.
        since: When it took hold, ISO 8601, UTC.
        command: What was run.
        where: Where `pid` means this process: the boot of a machine and the
            process namespace (of a container). Empty where that is not known.
        token: Tells this owner from all others.
    """

    host: str
    pid: int
    since: str
    command: str
    where: str
    token: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since}"

    def encode(self) -> bytes:
        """Returns the content of OWNER."""
        return json.dumps(dataclasses.asdict(self), indent=1).encode() + b"\n"

    def has_ended(self) -> bool:
        """Returns whether it is known, here and now, to be no more."""
        if not self.where or self.where != _where():
            return False
        if self.pid == os.getpid():
            return True  # of an earlier process with our number
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass  # somebody else's
        return False


def in_use(
    directory: str, holder: Owner | None, otherwise: str
) -> errors.ConfigError:
    """Returns the error that tells a second process who the first is.

    Args:
        directory: That is held.
        holder: By whom, where that is known.
        otherwise: What else can be done.
    """
    by = f"{holder} ({holder.command})" if holder else "another process"
    return errors.ConfigError(
        f"{directory} is in use by {by}. Wait until that has ended, stop it, "
        f"or {otherwise}."
    )


def decode(content: bytes) -> Owner | None:
    """Returns what OWNER says; None where that is nothing."""
    try:
        return Owner(**json.loads(content))
    except (ValueError, TypeError):
        return None


def myself() -> Owner:
    """Returns this process as an owner, from now on."""
    return Owner(
        host=socket.gethostname(),
        pid=os.getpid(),
        since=datetime.datetime.now(datetime.timezone.utc).isoformat(
            timespec="seconds"
        ),
        command=shlex.join(sys.orig_argv),
        where=_where(),
        token=uuid.uuid4().hex,
    )


def _where() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return f"{file.read().strip()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""
